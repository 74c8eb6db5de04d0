"""Publishing what a run made on the Hugging Face hub: checked before the work, sent after it."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lmtools import __version__
from lmtools.core.errors import LmtoolsError, MachineError
from lmtools.core.files import write_text

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


def check_target(repo: str) -> None:
    """Whether something could be sent to a repository, as far as that is known without a network.

    Raises:
        LmtoolsError: the name is none, the hub is switched off, or there is no token.
    """
    from huggingface_hub import get_token
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise LmtoolsError(
            f"--push-to-hub {repo}: no name of a repository", fix="give NAME or OWNER/NAME, without spaces"
        ) from error
    if is_offline_mode():
        raise LmtoolsError(
            f"--push-to-hub {repo}: the hub is switched off (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
            fix="unset that variable, or leave --push-to-hub out",
        )
    if not get_token():
        raise LmtoolsError(f"--push-to-hub {repo}: there is no token for the hub", fix=LOGIN)


def upload(files: Mapping[str, Path | str], repo: str, *, public: bool = False, again: str = "") -> str:
    """Send files and folders in one commit; gives the address of the repository, which is made if it is new.

    Args:
        files: path in the repository -> file or folder, or a text; a folder at "" is the repository itself.
        repo: NAME or OWNER/NAME.
        again: how it can be sent once more, for the message of an error.
        public: a new repository can be read by everybody; one that is there stays as it is.

    Raises:
        LmtoolsError: the hub refuses the token or the name.
        MachineError: it cannot be reached, or failed.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="lmtools", library_version=__version__)
    with TemporaryDirectory() as folder, _explained(repo, again):
        _gather(files, Path(folder))
        made = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Made with lmtools")
    return str(made)


def _gather(files: Mapping[str, Path | str], folder: Path) -> None:
    """Everything under ``folder`` as it will be in the repository: links, which cost no room."""
    for place, source in files.items():
        if isinstance(source, str):
            write_text(folder / place, source)
            continue
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file():
                _link(file, folder / place / file.relative_to(source))


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(file.resolve(), target)
    except OSError:  # a system without links
        shutil.copyfile(file, target)


@contextmanager
def _explained(repo: str, again: str) -> Iterator[None]:
    """What huggingface_hub raises, as errors that name the repository."""
    from huggingface_hub.errors import HfHubHTTPError

    kept = f"everything is on disk: {again}" if again else "everything is on disk"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = error.server_message or str(error).strip().splitlines()[0]
        if status == 401:
            raise LmtoolsError(
                f"the hub refuses the token for {repo}: {reason}", fix=f"{LOGIN}; {kept}"
            ) from error
        if status in (400, 403, 404, 409):
            raise LmtoolsError(
                f"the hub refuses {repo}: {reason}",
                fix=f"choose a name under your own account, or a token that may write there; {kept}",
            ) from error
        raise MachineError(f"the hub failed on {repo}: {reason}", fix=f"try later; {kept}") from error
    except LmtoolsError:
        raise
    except Exception as error:  # of httpx and the system, which differ between its versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"cannot send {repo} to the hub: {reason}", fix=f"connect to it; {kept}"
        ) from error
