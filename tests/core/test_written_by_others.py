"""Failed writes of other libraries become one error that names the folder; everything else passes through."""

import errno
from pathlib import Path

import pytest

from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import library_writes


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError(
            "[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/0"
        ),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 39296 vs 39188"),
        ValueError("Error while serializing: I/O error: File too large (os error 27)"),
    ],
)
def test_a_failed_write(error):
    with (
        pytest.raises(MachineError, match="cannot write run/sft") as raised,
        library_writes(Path("run/sft")),
    ):
        raise error
    assert "--out" in raised.value.fix


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "reset"),
        RuntimeError("shapes differ"),
        DataError("I/O error"),
        KeyError(),
    ],
)
def test_everything_else(error):
    with pytest.raises(type(error)) as raised, library_writes(Path("run")):
        raise error
    assert raised.value is error
