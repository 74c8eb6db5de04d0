"""What the hub's client raises, as errors that name the repository and how to go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmtools.core.errors import LmtoolsError, MachineError, MissingPackageError, ModelError
from lmtools.core.near import near_path
from lmtools.models.spec import BUILTIN_LM


@contextmanager
def hub_faults(name: str) -> Iterator[None]:
    """What huggingface_hub raises, as errors that name the repository.

    Raises:
        ModelError: there is no such repository.
        MachineError: it cannot be reached.
    """
    try:
        from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
    except ImportError as error:
        raise MissingPackageError(
            "a hub name needs huggingface_hub", fix="pip install huggingface_hub"
        ) from error
    try:
        yield
    except HFValidationError as error:
        raise ModelError(
            f"{name}: neither a directory nor a hub name", fix=f"such as {BUILTIN_LM}"
        ) from error
    except GatedRepoError as error:  # which is a RepositoryNotFoundError too
        raise ModelError(
            f"{name} is gated: its owners let in whom they know",
            fix=f"ask for access at https://huggingface.co/{name}, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        near = near_path(Path(name), folders=True)
        fix = "check the spelling; for a private or gated repository run `hf auth login`"
        raise ModelError(
            f"{name}: no such directory, and no such repository on the hub (or it needs a login)",
            fix=f"did you mean the directory {near}? Otherwise {fix}" if near else fix,
        ) from error
    except LmtoolsError:
        raise
    except Exception as error:  # requests, httpx, OS and hub errors, which differ between its versions
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MachineError(
            f"cannot fetch {name} from the hub: {first}",
            fix=_reach(name),
        ) from error


def _reach(name: str) -> str:
    """How to do with a hub that cannot be reached."""
    near = near_path(Path(name), folders=True)
    meant = f"did you mean the directory {near}? Otherwise " if near else ""
    return (
        f"{meant}connect to the hub (HTTPS_PROXY for a proxy, HF_ENDPOINT for a mirror), or use a model that "
        f"needs none: a local directory, or {BUILTIN_LM}"
    )
