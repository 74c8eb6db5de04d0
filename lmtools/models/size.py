"""How large a model is, told from its files without loading a weight."""

from math import prod

from lmtools.core.errors import ModelError
from lmtools.models.files import hub_faults, on_hub, resolve
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one weight, by precision."""


def weights_gib(spec: ModelSpec) -> float:
    """What a model's weights take at the precision of ``spec``, in GiB; raises as ``parameters``."""
    return parameters(spec) * bytes_of(spec) / 2**30


def bytes_of(spec: ModelSpec) -> int:
    """Bytes of one weight; for a device that is not here, those of the 16 bits that a GPU has."""
    try:
        return BYTES[resolve_dtype(spec).dtype]
    except ModelError:
        return BYTES["bfloat16"]


def parameters(spec: ModelSpec) -> int:
    """The number of weights in a model's safetensors files; a tied output matrix counts once.

    Of a hub model only the heads of these files are fetched.

    Raises:
        ModelError: the model cannot be found, or holds no safetensors.
        MachineError: the hub cannot be reached.
    """
    from safetensors import safe_open

    if on_hub(spec.name):
        with hub_faults(spec.name):
            from huggingface_hub import get_safetensors_metadata

            return sum(get_safetensors_metadata(spec.name).parameter_count.values())
    total = 0
    for file in sorted(resolve(spec).path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
