"""Whether a PEFT adapter fits a model, told from names and shapes alone."""

from pathlib import Path

PEFT_PREFIX = "base_model.model."


def misfits(adapter: Path, base: Path) -> list[str]:
    """What in an adapter's weights does not fit the base model's, one line each; empty if it fits.

    A LoRA pair adapts one weight W of shape (out, in): A is (rank, in), B is (out, rank). Layers whose
    weights have other forms (embeddings, merged or transposed ones) are only looked up by name.
    """
    shapes = tensor_shapes(base)
    faults = []
    for key, shape in tensor_shapes(adapter).items():
        layer, _, part = key.removeprefix(PEFT_PREFIX).partition(".lora_")
        weight = shapes.get(f"{layer}.weight")
        if part and weight is None and not _is_tied_head(layer, shapes):
            faults.append(f"the model has no layer {layer}")
        elif part in ("A.weight", "B.weight") and weight is not None and len(weight) == 2 == len(shape):
            side, mine = ("inputs", shape[1]) if part[0] == "A" else ("outputs", shape[0])
            if mine not in weight:
                theirs = weight[1] if part[0] == "A" else weight[0]
                faults.append(f"{layer} has {theirs} {side} in the model and {mine} in the adapter")
    return faults


def tensor_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a directory's safetensors files; reads their headers only."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes


def _is_tied_head(layer: str, shapes: dict[str, tuple[int, ...]]) -> bool:
    """An output projection that shares the embedding's weights is not in the file."""
    return layer == "lm_head" and not any(name.startswith("lm_head.") for name in shapes)
