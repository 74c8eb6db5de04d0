"""What a run has fitted, and whether it belongs to a model: told before the model's weights are loaded."""

from collections.abc import Sequence
from pathlib import Path

from lmtools.ats.artefact import SETTINGS, BaseInfo, check_base, find_head, read_settings
from lmtools.ats.methods import load_methods
from lmtools.core.errors import MachineError
from lmtools.models.files import on_hub, resolve_texts
from lmtools.models.load import identity
from lmtools.models.spec import ModelSpec


def fitted_methods(run: Path, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The methods that a reader of ``run`` has, in the order of tables; none chosen: all.

    Raises:
        RecipeError: one of those chosen was not fitted.
        ModelError: a piece of the run is missing or broken.
        RunError: two heads of the run have one name.
    """
    return load_methods(run).only(chosen).names


def check_fits(run: Path, spec: ModelSpec) -> None:
    """Whether the heads of ``run`` were fitted on a model, by configuration and by the hashes of its files.

    Raises:
        ModelError: a head is for another model.
        MachineError: the model is on the hub, where only its sizes can be compared: they agree, or the hub
            cannot be reached.
    """
    from transformers import AutoConfig

    remote, files = on_hub(spec.name), resolve_texts(spec)
    config = AutoConfig.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)
    for directory in _heads(run):
        settings = read_settings(directory)
        found = _identity(settings.base) if remote else identity(spec, files)
        check_base(settings, directory, found, config)
    if remote:
        raise MachineError(
            f"the sizes agree; the weights of {spec.name} are compared once they are here",
            fix=f"download {spec.name} and name its directory",
        )


def _heads(run: Path) -> list[Path]:
    main = find_head(run)
    return [main, *sorted(path.parent for path in (run / "heads").glob(f"*/{SETTINGS}"))]


def _identity(base: BaseInfo) -> str:
    """The model a head was fitted on, as ``LoadedModel.identity``."""
    return f"{base.digest}{'+' if base.adapter else ''}{base.adapter}@{base.dtype}"
