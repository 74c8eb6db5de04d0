"""Small quizzes as files, and a reader that answers them with several methods: for tests of the measuring."""

import json
import math
from pathlib import Path

from lmtools.core.files import sha256_text
from lmtools.generation.protocol import Completion

CAPITALS = {
    "France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi", "Norway": "Oslo",
    "Cuba": "Havana", "Nepal": "Kathmandu", "Ghana": "Accra", "Chad": "N'Djamena", "Oman": "Muscat",
}  # fmt: skip
TOWNS = list(CAPITALS.values())


def choice_records(count: int = 10) -> list[dict]:
    records = []
    for number, (country, town) in enumerate(list(CAPITALS.items())[:count]):
        wrong = [other for other in TOWNS if other != town][number % 3 :][:3]
        place = number % 4
        records.append(
            {
                "id": f"c{number}",
                "question": f"What is the capital of {country}?",
                "choices": [*wrong[:place], town, *wrong[place:]],
                "answer": place,
                "subject": "north" if number % 2 else "south",
            }
        )
    return records


def answer_records(count: int = 10) -> list[dict]:
    return [
        {"id": f"a{number}", "question": f"Capital of {country}?", "answer": town, "aliases": [town.upper()]}
        for number, (country, town) in enumerate(list(CAPITALS.items())[:count])
    ]


def write_lines(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


class QuizScorer:
    """Knows the first ``known`` capitals, is sure of everything, and calibrates in two more ways.

    ``flatter`` halves every logit; ``map`` is a confidence map that takes 0.1 off.
    """

    methods = ("uncalibrated", "flatter", "map")
    identity = "quiz"

    def __init__(self, known: int = 5) -> None:
        self.known = list(CAPITALS.items())[:known]
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.closed = False

    def generate(self, prompts, sampling, samples=1):
        self.calls.append(("generate", tuple(prompts)))
        return [[self._written(prompt, sample) for sample in range(samples)] for prompt in prompts]

    def _written(self, prompt: str, sample: int) -> Completion:
        question = prompt.rpartition("Question:")[2]
        answer = next((town for country, town in self.known if country in question), "Atlantis")
        words = f" {answer} indeed" if sample % 2 else f" {answer}"
        sure = -0.1 - 0.001 * (int(sha256_text(prompt)[:4], 16) % 100)
        # Two tokens and the newline that ended it, which it was not sure of.
        return Completion(words, (1, 2, 3), (sure, sure / 2, -5.0), "stop")

    def score(self, prompts, answers):
        self.calls.append(("score", tuple(prompts)))
        rows = [answer.logprobs or (-0.3,) * len(answer.text.split()) for answer in answers]
        return [
            {name: tuple(value / (2 if name == "flatter" else 1) for value in row) for name in self.methods}
            for row in rows
        ]

    def options(self, prompts, options):
        self.calls.append(("options", tuple(prompts)))
        found = []
        for prompt in prompts:
            question = prompt.rpartition("What is")[2]
            town = next((town for country, town in self.known if country in question), None)
            logits = [2.0 if town and f"{option.strip()}. {town}" in question else 0.0 for option in options]
            logits[-1] += 0.5
            found.append(
                {
                    name: _normal([x / (2 if name == "flatter" else 1) for x in logits])
                    for name in self.methods
                }
            )
        return found

    def adjust(self, method, confidence):
        return max(0.0, confidence - 0.1) if method == "map" else confidence

    def close(self):
        self.closed = True


def _normal(logits: list[float]) -> tuple[float, ...]:
    total = math.log(sum(map(math.exp, logits)))
    return tuple(value - total for value in logits)
