"""The one family of errors that a user can mend.

The command line prints them without a traceback (``--debug`` shows it) and exits with ``exit_code``:
2 where the user's input is wrong, 1 where the machine or a service failed.
"""

from lmtools.core.strings import without_secrets


class LmtoolsError(Exception):
    """A fault the user can mend: what is wrong and where, then how to mend it.

    Args:
        message: one or more lines naming the place (file, line, field, option) and what is wrong.
        fix: the mend, as an instruction or a command line; printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, fix: str = "") -> None:
        self.message, self.fix = without_secrets(message), without_secrets(fix)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message


class RecipeError(LmtoolsError):
    """A recipe, or a ``--set`` override, that does not fit its schema."""


class DataError(LmtoolsError):
    """A data file that breaks its contract."""


class ModelError(LmtoolsError):
    """A model name, directory or adapter that cannot be used as asked."""


class RunError(LmtoolsError):
    """A run directory that cannot be used as asked."""


class MissingPackageError(LmtoolsError):
    """An optional package is needed and absent; ``fix`` is the line that installs it."""


class MachineError(LmtoolsError):
    """The machine or a service failed: disk, memory, network, a remote server."""

    exit_code = 1


class RetrieverError(MachineError):
    """A search service failed or answered with something that is not a result list."""


class BackendError(MachineError):
    """A generation backend failed."""
