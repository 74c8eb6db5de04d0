"""Do questions and corpus belong together? A gold title that is not in the corpus can never be found."""

import difflib
import html
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from lmtools.core.errors import DataError
from lmtools.data.faults import MAX_SHOWN
from lmtools.data.records import Question

MAX_CANDIDATES = 2000
"""Titles compared letter by letter with a missing one; bounds the time on corpora of millions."""


def check_questions(questions: Sequence[Question], titles: Iterable[str]) -> None:
    """Make sure that every question has gold titles and that the corpus has them all, letter for letter.

    Args:
        titles: the title of every passage; titles may repeat.

    Raises:
        DataError: no question, an empty corpus, questions without gold, or gold titles that the corpus lacks;
            all of them together, up to 20.
    """
    known = titles if isinstance(titles, set | frozenset) else set(titles)
    if not questions:
        raise DataError("no questions", fix="give a source with at least one question")
    if not known:
        raise DataError("the corpus is empty", fix="give a corpus with at least one passage")
    bare = [question for question in questions if not question.supporting]
    missing: dict[str, str] = {}
    for question in questions:
        for title in question.supporting:
            if title not in known:
                missing.setdefault(title, question.id)
    if not bare and not missing:
        return
    lines = [
        f"question {question.id!r}: no gold title (`supporting` is empty)" for question in bare[:MAX_SHOWN]
    ]
    shown = dict(list(missing.items())[: MAX_SHOWN - len(lines)])
    near = near_titles(shown, known)
    lines += [
        f"question {id!r}: gold title {title!r} is not in the corpus{near[title]}"
        for title, id in shown.items()
    ]
    total = len(bare) + len(missing)
    if total > len(lines):
        lines.append(f"and {total - len(lines)} more")
    fix = "give the corpus that these questions were made for, or mend the titles"
    if not missing:
        fix = "name the titles of the passages that answer each question in `supporting`"
    raise DataError(
        "\n  ".join([f"questions and corpus do not fit: {total} fault{'s' * (total > 1)}", *lines]), fix=fix
    )


def near_titles(missing: Collection[str], known: Collection[str]) -> dict[str, str]:
    """For each missing title what may be meant: ``; it has 'Grant Hill'``, or nothing."""
    if not missing:
        return {}
    folded = {_folded(title): title for title in known}
    return {title: _meant(title, folded) for title in missing}


def _meant(title: str, folded: dict[str, str]) -> str:
    key = _folded(title)
    if key in folded:
        return f"; it has {folded[key]!r}, which differs in case, spacing or Unicode form ({folded[key]!a})"
    candidates = [other for other in folded if other[:2] == key[:2] and abs(len(other) - len(key)) <= 5]
    close = difflib.get_close_matches(key, candidates[:MAX_CANDIDATES], n=1, cutoff=0.9)
    return f"; it has {folded[close[0]]!r}" if close else ""


def _folded(title: str) -> str:
    """A title without what copies of Wikipedia differ in: HTML entities, Unicode form, case, underscores."""
    plain = unicodedata.normalize("NFKC", html.unescape(title)).replace("_", " ")
    return " ".join(plain.casefold().split())
