"""An adapter merged into its base: an ordinary model directory, which needs no PEFT to be loaded."""

from pathlib import Path

from lmtools.models.directory import new_directory, texts
from lmtools.models.files import resolve
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


def write_merged(spec: ModelSpec, out: Path) -> None:
    """Write the model of ``spec``, its adapter merged in, and its tokenizer; ``out`` is then whole or absent.

    The weights have the precision of ``spec``; at bfloat16 the sum is rounded as they are. Everything is done
    on the processor, in the memory of one model.

    Raises:
        ModelError: the model or its adapter cannot be used.
        RunError: ``out`` is in use.
        MachineError: there is not enough memory, or the disk is full.
    """
    base = resolve(spec).path
    merged = load(spec.model_copy(update={"device": "cpu"}), merge=True)
    with new_directory(out) as folder:
        merged.model.save_pretrained(folder)
        for text in texts(base):  # as they are: loading has changed the tokenizer's padding
            (folder / text.name).write_bytes(text.read_bytes())
