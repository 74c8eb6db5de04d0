"""Text for people."""


def cut(text: str, limit: int) -> str:
    """``text``, or as much of it as fits ``limit`` characters with an ellipsis for the rest.

    >>> cut("Grant Hill", 10), cut("Grant Hill", 6)
    ('Grant Hill', 'Grant…')
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short(text: str, limit: int) -> str:
    """``text`` on one line, cut.

    >>> short("Grant  Hill\\nis a player", 14)
    'Grant Hill is…'
    """
    return cut(" ".join(text.split()), limit)
