"""Seeds: one number a run, from which every unit of work derives its own."""

import hashlib


def derive(seed: int, *parts: str | int) -> int:
    """A seed in [0, 2**63) for one unit of work: ``derive(seed, question.id, hop)``.

    Stable over machines, Python versions and the order of work. ``1`` and ``"1"`` are different parts,
    and no joining of neighbouring parts gives the same seed.
    """
    digest = hashlib.sha256(f"i{seed};".encode())
    for part in parts:
        kind, text = ("i", str(part)) if isinstance(part, int) else ("s", part)
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{kind}{len(data)}:".encode() + data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1
