"""Names that a package offers, each imported when it is first asked for: `import lmtools.ats` stays cheap.

In the package's ``__init__`` the same names are imported for type checkers and editors, and listed::

    if TYPE_CHECKING:
        from lmtools.ats.losses import cross_entropy
    else:
        __getattr__, __dir__ = exports(__name__, {"lmtools.ats.losses": ["cross_entropy"]})
    __all__ = ["cross_entropy"]
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def exports(
    package: str, places: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        places: module -> the names in it that the package offers. None may be that of a module of the
            package, which would take its place once it is imported.
    """
    home = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home[name]), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *home})

    return get, names
