"""Which questions of a task are asked, and which are shown: pure functions."""

from collections.abc import Sequence

from lmtools.core.seeds import derive
from lmtools.metrics.answers import normalise


def evenly(ids: Sequence[str], subjects: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Positions of at most ``limit`` questions, the same number of every subject, as far as it has them.

    With one subject these are the first ones. Otherwise a subject's questions are drawn by seed and id, so
    that a larger limit only adds questions; what one subject lacks, the others make up for, and a remainder
    goes to the first subjects by name.

    Returns:
        Positions in rising order.
    """
    count = len(ids) if limit is None else min(limit, len(ids))
    members: dict[str, list[int]] = {}
    for position, subject in enumerate(subjects):
        members.setdefault(subject, []).append(position)
    if count == len(ids) or len(members) == 1:
        return list(range(count))
    shares = split_evenly({subject: len(own) for subject, own in sorted(members.items())}, count)
    chosen: list[int] = []
    for subject, own in members.items():
        drawn = sorted(own, key=lambda position: derive(seed, ids[position]))
        chosen += drawn[: shares[subject]]
    return sorted(chosen)


def split_evenly(sizes: dict[str, int], total: int) -> dict[str, int]:
    """How many each part gives so that they are ``total`` and as equal as the parts' sizes allow.

    >>> split_evenly({"a": 5, "b": 1, "c": 5}, 8)
    {'a': 4, 'b': 1, 'c': 3}
    """
    shares = dict.fromkeys(sizes, 0)
    left = min(total, sum(sizes.values()))
    while left:
        open_parts = [part for part, size in sizes.items() if shares[part] < size]
        each = max(1, left // len(open_parts))
        for part in open_parts:
            given = min(each, sizes[part] - shares[part], left)
            shares[part] += given
            left -= given
    return shares


def shown_answer(accepted: Sequence[str]) -> str:
    """The accepted answer that a demonstration shows: the name that most of the others contain.

    Public files list aliases in any order ("Fourth planet" before "Mars"). Words are compared after
    normalisation; of several such answers the shortest is shown, of these the first.

    >>> shown_answer(["Fourth planet", "Mars surface features", "Mars", "Planet Mars"])
    'Mars'
    """
    words = [f" {normalise(answer)} " for answer in accepted]

    def rank(index: int) -> tuple[bool, int, int]:
        contained = sum(words[index] in other for other in words)
        return not words[index].strip(), -contained, len(accepted[index])

    return accepted[min(range(len(accepted)), key=rank)]
