"""The sections of RewardBench (Lambert et al., 2024), and a section's score from those of its subsets.

A section's score is the share of right pairs over its subsets, but in Reasoning, where mathematics and code
(over all its languages) count one half each.
"""

from collections.abc import Mapping

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut", "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": (
        "math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust",
    ),
}  # fmt: skip
MATH = "math-prm"


def section_weights(counts: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """What each pair of a subset weighs in its section: section -> subset -> weight, those present only.

    Args:
        counts: subset -> its number of pairs; subsets of no section are left out.

    >>> section_weights({"math-prm": 4, "hep-go": 1, "hep-js": 1})["Reasoning"]
    {'math-prm': 0.125, 'hep-go': 0.25, 'hep-js': 0.25}
    """
    found = {}
    for section, subsets in SECTIONS.items():
        here = {name: counts[name] for name in subsets if counts.get(name)}
        if not here:
            continue
        total = sum(here.values())
        code = total - here.get(MATH, 0)
        halves = section == "Reasoning" and MATH in here and code > 0
        found[section] = {
            name: 1 / (2 * (count if name == MATH else code)) if halves else 1 / total
            for name, count in here.items()
        }
    return found
