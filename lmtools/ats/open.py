"""From a ``model:`` block and a head to a generator whose probabilities are calibrated."""

from pathlib import Path

from lmtools.ats.artefact import find_head, read_settings
from lmtools.core.errors import ModelError
from lmtools.generation.open import on_disk
from lmtools.generation.protocol import Generator
from lmtools.models.load import load, may_merge
from lmtools.models.spec import ModelSpec


def open_calibrated(spec: ModelSpec, head: Path, cache: bool = True) -> Generator:
    """A generator in this process with a fitted head on its model.

    Args:
        spec: the model that the head was fitted on.
        head: a head's directory, or a run of ``lmtools ats fit``.
        cache: keep what it answers on disk, one file for each model and head.

    Raises:
        ModelError: another backend is asked for, there is no head, or it is for another model.
        MachineError: a download failed, or memory is not enough.
    """
    if spec.backend != "hf":
        raise ModelError(
            f"a head cannot be put on a model that the {spec.backend} backend runs",
            fix=f"lmtools ats export {head} --format vllm, then name the exported directory as the model",
        )
    read_settings(find_head(head))  # before the model is loaded
    from lmtools.ats.calibrated import calibrate
    from lmtools.generation.hf import HfGenerator

    loaded = calibrate(load(spec, merge=may_merge(spec), float32_logits=True), head)
    generator = HfGenerator.from_loaded(loaded, spec.batch_tokens)
    return on_disk(generator) if cache else generator
