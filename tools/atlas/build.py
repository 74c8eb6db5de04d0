"""Make the atlas from its tables and templates: ``PYTHONPATH=tools python -m atlas.build``.

Writes ``corpus.jsonl``, ``questions.{train,dev,test}.jsonl``, ``choices.{test,dev}.jsonl``,
``instructions.jsonl`` and ``preferences.{train,targets}.jsonl``; the same tables give the same bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from atlas import path
from atlas.choices import choice_questions
from atlas.entities import Atlas
from atlas.facts import FactIndex
from atlas.instructions import instructions
from atlas.passages import corpus
from atlas.preferences import preferences
from atlas.questions import splits
from atlas.statements import Claims
from atlas.tables import load
from lmtools.core.files import write_jsonl
from lmtools.data.records import Record


def build(folder: Path) -> dict[str, int]:
    """Write the data set into ``folder``; returns the number of records of each file."""
    index = FactIndex(Atlas(load()))
    claims = Claims(index)
    choices = choice_questions(claims)
    files: dict[str, Sequence[Record]] = {"corpus.jsonl": corpus(index.atlas)}
    files.update({f"questions.{name}.jsonl": part for name, part in splits(index).items()})
    files.update(
        {f"choices.{name}.jsonl": [item.question for item in part] for name, part in choices.items()}
    )
    # Instructions leave out what the choice questions ask, so that training on them gives no answer away.
    choice_claims = [item.claim for part in choices.values() for item in part]
    files["instructions.jsonl"] = instructions(claims, choice_claims)
    files.update({f"preferences.{name}.jsonl": pairs for name, pairs in preferences(claims).items()})
    return {
        name: write_jsonl(folder / name, (r.model_dump(mode="json", exclude_unset=True) for r in records))
        for name, records in files.items()
    }


if __name__ == "__main__":
    for name, count in build(Path(sys.argv[1]) if len(sys.argv) > 1 else path("")).items():
        print(f"{count:6} {name}", file=sys.stderr)
