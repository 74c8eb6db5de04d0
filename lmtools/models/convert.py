"""GGUF to safetensors, for the built-in language model."""

from pathlib import Path
from typing import Any

from lmtools.models.quiet import quietly


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a transformers directory with float32 safetensors.

    The file's quantised values are kept exactly: every 4-bit value times its block's scale is a float32.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = gguf.parent, gguf.name
    with quietly():
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        config = loaded.config
        # The loaded model counts as quantised and would not save; its float32 weights in a fresh one do.
        del config.quantization_config
        with torch.device("meta"):
            model = type(loaded)(config)
        model.load_state_dict(loaded.state_dict(), assign=True)
        model.tie_weights()
        split_digits(tokenizer)
        set_padding(tokenizer, model)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def split_digits(tokenizer: Any) -> None:
    """Make digits tokens of their own before anything else, as in SmolLM2's training.

    The GGUF file names this rule (``smollm``), and transformers' reader of GGUF files does not know it.
    """
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )


def set_padding(tokenizer: Any, model: Any) -> None:
    """Pad with a token that ends nothing: a trainer that masks padding would mask the end of turn with it."""
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.unk_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
