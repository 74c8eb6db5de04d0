"""How large a model is, told from its files without loading a weight."""

from math import prod

from lmtools.models.files import resolve
from lmtools.models.spec import ModelSpec


def parameters(spec: ModelSpec) -> int:
    """The number of weights in a model's safetensors files; a tied output matrix counts once.

    Raises:
        ModelError: the model cannot be found, or holds no safetensors.
    """
    from safetensors import safe_open

    total = 0
    for file in sorted(resolve(spec).path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
