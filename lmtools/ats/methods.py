"""Every way to calibrate that an ATS run has fitted, by name.

A run holds ``head/`` (the recipe's head), ``heads/KIND/`` (others, for comparison), ``baselines.json`` and
``vector.safetensors``. A head's directory alone stands for that head alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from lmtools.ats.artefact import find_head, head_digest, load_head, read_settings
from lmtools.ats.baselines.artefact import Baselines, load_baselines
from lmtools.ats.baselines.maps import ConfidenceMap
from lmtools.ats.baselines.vector import VectorScaling
from lmtools.ats.head_config import LOSSES, method_name
from lmtools.ats.heads import TemperatureHead
from lmtools.calibration.reading import UNCALIBRATED
from lmtools.core.errors import ModelError, RecipeError, RunError
from lmtools.core.files import sha256_text
from lmtools.models.load import LoadedModel

VECTOR = "vector scaling"
ORDER = (
    UNCALIBRATED,
    *(f"scalar ({loss})" for loss in LOSSES.values() if loss != "NLL"),
    "scalar (NLL)",
    VECTOR,
    "Platt",
    "histogram binning",
    "scaling-binning",
    "isotonic",
    "transformer",
    "mlp",
    "linear",
)
"""How tables order methods; any others come last."""

T = TypeVar("T")


@dataclass(frozen=True)
class Methods:
    """What can be done to a model's probabilities.

    ``heads`` and ``scalars`` (log multipliers) multiply logits, ``vector`` maps logits, ``maps`` map a
    confidence. ``digests`` names each method but "uncalibrated" by content.
    """

    heads: Mapping[str, TemperatureHead] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    vector: VectorScaling | None = None
    maps: Mapping[str, ConfidenceMap] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them in the order of tables, "uncalibrated" first."""
        vector = (VECTOR,) if self.vector is not None else ()
        return in_order({UNCALIBRATED, *self.heads, *self.scalars, *vector, *self.maps})

    def only(self, names: Sequence[str]) -> "Methods":
        """Some of them; none named: all.

        Raises:
            RecipeError: one is not there.
        """
        if not names:
            return self
        for name in names:
            if name not in self.names:
                near = get_close_matches(name, self.names, n=1, cutoff=0.4)
                raise RecipeError(
                    f"{name!r} is none of the methods that were fitted: {', '.join(self.names)}",
                    fix=f"did you mean {near[0]!r}?" if near else "name some of these",
                )
        return replace(
            self,
            heads=_some(self.heads, names),
            scalars=_some(self.scalars, names),
            vector=self.vector if VECTOR in names else None,
            maps=_some(self.maps, names),
            digests=_some(self.digests, names),
        )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods in the order of tables."""
    return tuple(sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))


def load_methods(path: Path, base: LoadedModel | None = None) -> Methods:
    """What was fitted.

    Args:
        path: a run of ``lmtools ats fit``, or a head's directory.
        base: the model they will be used on; None: not checked, on the processor.

    Raises:
        ModelError: a piece is missing or broken, or it is for another model.
        RunError: two heads have one name.
    """
    main = find_head(path)
    others = sorted(found.parent for found in (path / "heads").glob("*/head.json")) if main != path else []
    heads: dict[str, Path] = {}
    for directory in (main, *others):
        settings = read_settings(directory)
        name = method_name(settings.head.kind, str(settings.loss.get("name", "selective_smoothing")))
        if name in heads:
            raise RunError(
                f"{directory} and {heads[name]} are both a head called {name!r}",
                fix=f"remove {directory}, or fit into another directory",
            )
        heads[name] = directory
    loaded = {name: load_head(directory, base) for name, directory in heads.items()}
    baselines = load_baselines(path) if main != path else Baselines()
    if baselines.vector is not None:
        _check_vocabulary(baselines.vector, next(iter(loaded.values())), path)
    return methods_of(loaded, baselines, {name: head_digest(directory) for name, directory in heads.items()})


def methods_of(
    heads: Mapping[str, TemperatureHead], baselines: Baselines, digests: Mapping[str, str]
) -> Methods:
    """Heads, by method, and baselines as one; of a scalar that is both, the head counts.

    Args:
        digests: the digest of every head.
    """
    scalars = {name: value for name, value in baselines.scalars.items() if name not in heads}
    found = {**digests, **{name: f"log multiplier {value!r}" for name, value in scalars.items()}}
    found |= {name: sha256_text(map_.model_dump_json()) for name, map_ in baselines.maps.items()}
    if baselines.vector is not None:
        found[VECTOR] = baselines.vector.digest
    return Methods(heads, scalars, baselines.vector, baselines.maps, found)


def _check_vocabulary(vector: VectorScaling, head: TemperatureHead, path: Path) -> None:
    if len(vector.weight) != head.shape.vocabulary:
        raise ModelError(
            f"the vector scaling in {path} is for {len(vector.weight)} vocabulary entries, "
            f"and the model has {head.shape.vocabulary}",
            fix="fit again: lmtools ats fit",
        )


def _some(values: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    return {name: value for name, value in values.items() if name in names}
