"""Which prompts are computed together: groups that share a long prefix, batches within a token budget.

Pure functions on token ids. A prefix that n prompts share is run through the model once instead of n times.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_PREFIX = 32
"""Shared tokens below which a group is not worth a pass of its own."""
GROUP_COST = 256
"""What another group costs, in prompt tokens: it decodes apart from the others, in smaller batches."""


@dataclass(frozen=True)
class PrefixGroup:
    """Prompts, by index, whose first ``shared`` tokens are the same."""

    members: tuple[int, ...]
    shared: int


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens ``a`` and ``b`` have in common from their start."""
    length = min(len(a), len(b))
    low, high = 0, length  # the longest equal start lies in [low, high]; comparing slices runs in C
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def plan_groups(prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[PrefixGroup]:
    """Partition prompts into groups, so that the tokens saved less ``GROUP_COST`` a group are the most.

    A group of n prompts that share L tokens saves (n - 1) L. In the order of their tokens, prompts with a
    common prefix are neighbours, so the candidates are the nested intervals between the shortest overlaps.

    Args:
        prompts: token ids of each prompt.
        limits: the most tokens of each prompt that may be shared (its end is needed for its logits).

    Returns:
        Groups that together hold every index once; those that share nothing have ``shared`` 0.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    overlaps = [min(common_prefix(prompts[a], prompts[b]), limits[a], limits[b]) for a, b in pairwise(order)]
    chosen = _best(overlaps)
    grouped = {position for start, stop, _ in chosen for position in range(start, stop)}
    groups = [PrefixGroup(tuple(order[start:stop]), shared) for start, stop, shared in chosen]
    alone = tuple(order[position] for position in range(len(order)) if position not in grouped)
    return [*groups, PrefixGroup(alone, 0)] if alone else groups


def _best(overlaps: Sequence[int]) -> list[tuple[int, int, int]]:
    """The best disjoint intervals (start, stop, shared) of positions, given the overlaps of neighbours.

    Every candidate is an interval over which no overlap is below its shared length: the intervals that a
    stack finds while it walks over the overlaps. ``value[i]`` is the best saving of the first i positions.
    """
    n = len(overlaps) + 1
    ending: list[list[tuple[int, int]]] = [[] for _ in range(n + 1)]
    stack: list[tuple[int, int]] = []  # (start, shared), shared rising
    for position, overlap in enumerate([*overlaps, 0]):
        start = position
        while stack and stack[-1][1] >= overlap:
            start, shared = stack.pop()
            if shared >= MIN_PREFIX:
                ending[position + 1].append((start, shared))
        stack.append((start, overlap))
    value = [0] * (n + 1)
    taken: list[tuple[int, int] | None] = [None] * (n + 1)
    for stop in range(1, n + 1):
        value[stop] = value[stop - 1]
        for start, shared in ending[stop]:
            saving = value[start] + (stop - start - 1) * shared - GROUP_COST
            if saving > value[stop]:
                value[stop], taken[stop] = saving, (start, shared)
    return _walk_back(taken)


def _walk_back(taken: Sequence[tuple[int, int] | None]) -> list[tuple[int, int, int]]:
    found = []
    stop = len(taken) - 1
    while stop > 0:
        choice = taken[stop]
        if choice is None:
            stop -= 1
        else:
            found.append((choice[0], stop, choice[1]))
            stop = choice[0]
    return found[::-1]


def pack(lengths: Sequence[int], budget: int, most: int) -> Iterator[list[int]]:
    """Indices in batches, longest first, so that rows of a batch are of like length.

    A batch has at most ``most`` rows, and (rows x its longest) is within ``budget``; one row always fits.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[batch[0]] > budget):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
