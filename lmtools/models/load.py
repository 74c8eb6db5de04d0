"""A name becomes a loaded model and tokenizer.

    loaded = load(ModelSpec(name="builtin:smollm2-135m-instruct"))
    loaded.model(**loaded.tokenizer("Hello", return_tensors="pt").to(loaded.device))

Who needs several of model, tokenizer, configuration and identity resolves the name once (``files.resolve``)
and passes the result to each of these functions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lmtools.core.errors import MachineError, ModelError
from lmtools.models.files import HEAD_KEY, ModelFiles, read_json, resolve
from lmtools.models.precision import pick_device, resolve_dtype
from lmtools.models.silence import silence_transformers
from lmtools.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "LoadedModel",
    "ModelFiles",
    "base_model",
    "filled_module",
    "identity",
    "in_halves",
    "load",
    "load_config",
    "load_tokenizer",
    "may_merge",
    "pick_device",
    "resolve",
]

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M", bound="torch.nn.Module")


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model (or reward model) in evaluation mode on its device, and its tokenizer.

    ``identity`` names model, adapter and precision by content.
    """

    model: Any
    tokenizer: Any
    identity: str
    device: str


def load(
    spec: ModelSpec,
    attention: str | None = None,
    *,
    files: ModelFiles | None = None,
    merge: bool = False,
    reward: bool = False,
    float32_logits: bool = False,
) -> LoadedModel:
    """Load a model, with its adapter on top where the spec names one.

    Args:
        spec: which model, at which precision, on which device.
        attention: transformers' attention implementation (``eager``, ``sdpa`` ...); None: its own choice.
        files: of the model and its adapter, where ``resolve(spec)`` has given them already.
        merge: add the adapter's weights to the model's, which is faster to run and cannot be trained on.
        reward: load it as a sequence classifier with one label, which is what a reward model is.
        float32_logits: compute logits in float32 from states of 16 bits, where they would come in steps of
            up to an eighth of a nat. Takes a second copy of the output matrix.

    Raises:
        ModelError: the name, directory or adapter cannot be used, or it is a model exported for vLLM.
        MachineError: a download failed, or there is not enough memory.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    spec = resolve_dtype(spec)
    files = files or resolve(spec)
    _check_headless(spec, files)
    device = pick_device(spec.device)
    # from_pretrained is told only what differs from its own choice: null would switch a choice off.
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    loader = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    options |= {"num_labels": 1} if reward else {}
    with _explained(spec), silence_transformers():
        model, info = loader.from_pretrained(
            files.path,
            output_loading_info=True,
            dtype=getattr(torch, spec.dtype),
            use_safetensors=True,
            trust_remote_code=spec.trust_remote_code,
            **options,
        )
        # Transformers would fill missing weights with random numbers and go on.
        missing = set(info["missing_keys"])
        if reward and files.adapter is not None:  # which brings the head
            missing.discard("score.weight")
        if missing:
            raise ValueError(f"its weights lack {sorted(missing)[0]}")
        if files.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, files.adapter, use_safetensors=True)
            model = model.merge_and_unload() if merge else model
        model = model.to(device).eval()
        if float32_logits:
            _widen_output(base_model(model).get_output_embeddings())
    tokenizer = load_tokenizer(spec, files)
    return LoadedModel(model, tokenizer, identity(spec, files), device)


def _widen_output(layer: Any) -> None:
    """Let a linear output layer compute in float32; an embedding that shares its matrix keeps its own."""
    from torch import float32, nn

    if not isinstance(layer, nn.Linear) or layer.weight.dtype == float32:
        return
    layer.weight = nn.Parameter(layer.weight.detach().float(), requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach().float(), requires_grad=False)
    layer.register_forward_pre_hook(lambda _, states: (states[0].float(),))


def may_merge(spec: ModelSpec) -> bool:
    """Whether an adapter that is not trained on is added to the model's weights.

    At 16 bits it would be rounded as they are, and lose most of its digits.
    """
    return resolve_dtype(spec).dtype == "float32"


def in_halves(
    run: Callable[[Sequence[T]], R],
    batch: Sequence[T],
    too_large: MachineError,
    free: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """``run`` of a batch, or of its halves one after the other, where the GPU's memory is not enough at once.

    Args:
        run: the work on a batch.
        batch: at least one item.
        too_large: raised where a single item does not fit.
        free: lets go of what else holds memory, before halves are tried.
    """
    import torch

    try:
        result = run(batch)
    except torch.cuda.OutOfMemoryError as error:
        if len(batch) == 1:
            raise too_large from error
    else:
        yield result
        return
    # Outside the handler, whose exception would keep the tensors of the failed pass alive.
    free()
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        yield from in_halves(run, half, too_large, free)


def filled_module(build: Callable[[], M], tensors: "Mapping[str, torch.Tensor]") -> M:
    """A module with these weights; no memory is taken for one of other sizes than theirs.

    Raises:
        ValueError: they are not those of the module that ``build`` makes, or not finite.
    """
    import torch

    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in build().state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            raise ValueError(f"{name}: shape {expected.get(name)} expected, found {given.get(name)}")
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{name} is not finite")
    module = build()
    module.load_state_dict(tensors, strict=True)
    return module


def base_model(model: Any) -> Any:
    """The causal language model under an adapter or heads; the model itself where there are none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def load_config(spec: ModelSpec, files: ModelFiles) -> Any:
    """A model's transformers configuration; loads no weights.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoConfig

    with _explained(spec), silence_transformers():
        return AutoConfig.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)


def load_tokenizer(spec: ModelSpec, files: ModelFiles | None = None) -> Any:
    """The tokenizer of a model, padding on the left; loads no weights.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    path = (files or resolve(spec)).path
    with _explained(spec), silence_transformers():
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=spec.trust_remote_code, padding_side="left"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def identity(spec: ModelSpec, files: ModelFiles) -> str:
    """Model, adapter and precision by content: ``MODEL[+ADAPTER]@DTYPE``, each by 16 hexadecimal digits."""
    adapter = f"+{files.adapter_digest[:16]}" if files.adapter else ""
    return f"{files.digest[:16]}{adapter}@{resolve_dtype(spec).dtype}"


def _check_headless(spec: ModelSpec, files: ModelFiles) -> None:
    """Transformers would leave an exported model's temperature head out without a word."""
    head = read_json(files.path / "config.json").get(HEAD_KEY)
    if head is not None:
        base = head.get("base", {}).get("name", "its base model")
        raise ModelError(
            f"{spec.name} is {base} with a temperature head, exported for vLLM",
            fix=f"use --backend vllm; or, with the hf backend, {base} itself and --calibrated HEAD",
        )


@contextmanager
def _explained(spec: ModelSpec) -> Iterator[None]:
    """What transformers, safetensors and torch raise, as errors that name the model."""
    import torch

    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise MachineError(
            f"not enough memory for {spec.name} at {spec.dtype}",
            fix="set model.dtype=bfloat16, or a smaller model",
        ) from error
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError ... depending on the file
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        adapter = f" with the adapter {spec.adapter}" if spec.adapter else ""
        raise ModelError(
            f"cannot load {spec.name}{adapter}: {reason}",
            fix="check that the directory is complete and holds a causal language model",
        ) from error
