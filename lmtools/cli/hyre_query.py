"""From the shell: which pairs to label next, and the rewards of answers."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from lmtools.cli.invocation import as_called
from lmtools.cli.output import emit
from lmtools.core.errors import LmtoolsError
from lmtools.core.files import write_jsonl
from lmtools.core.progress import say
from lmtools.core.strings import short

if TYPE_CHECKING:
    from lmtools.data.records import Preference
    from lmtools.hyre.reweighting import Acquisition


def acquisition(name: str) -> "Acquisition":
    """What `--by` names.

    Raises:
        LmtoolsError: it is none of them.
    """
    from lmtools.hyre.reweighting import Acquisition

    known = {str(kind): kind for kind in get_args(Acquisition)}
    if name not in known:
        raise LmtoolsError(f"--by {name}: no such way to choose", fix=f"one of {', '.join(known)}")
    found: Acquisition = known[name]
    return found


def query_pairs(
    source: Path,
    pairs: str | None,
    target: str | None,
    weights: Path | None,
    by: str,
    count: int,
    seed: int,
    output: Path | None,
    json: bool,
) -> None:
    """Name the pairs that would tell most."""
    from lmtools.hyre.adapt import telling
    from lmtools.hyre.pairs import read_features
    from lmtools.hyre.personal import margins, read_user, split
    from lmtools.hyre.reward import open_reward, trained_recipe
    from lmtools.hyre.reweighting import scores

    kind = acquisition(by)
    recipe = trained_recipe(source)
    name, pool = read_user(pairs or recipe.data.targets, target, one_of_many=pairs is None)
    user = split(name, pool, 0, seed)
    reward = open_reward(source, weights)
    with closing(reward.reader):
        own = read_features(reward.reader, {name: user.others}, "pairs")[name]
    if weights is not None and (known := set(reward.weights.examples) & set(own.keys)):
        say(f"{len(known)} of the pairs are labelled already, and are left out")
    every, used = margins(reward.ensemble, own, reward.weights.settings), reward.weights
    if used.settings.rule == "reweight":
        found = scores(kind, every, used.weights, seed)
    else:  # the posterior is that of the labelled pairs among these
        labelled = every[[place for place, key in enumerate(own.keys) if key in used.examples]]
        found = telling(kind, every, labelled, reward.ensemble.fit, used.settings, seed)
    order = [
        place for place in (-found).argsort(kind="stable") if own.keys[place] not in reward.weights.examples
    ][:count]
    rows = [
        {"id": own.keys[place], "score": float(found[place]), **_content(own.pairs[place])} for place in order
    ]
    if output is not None:
        write_jsonl(output, rows)
        say(f"wrote {output}: {len(rows)} pairs")
    emit({"user": name, "by": by, "pairs": rows, "output": output}, json)
    if output is None and not json:
        for row in rows:
            typer.echo(f"{row['score']:.4f}  {row['id']}  {_short(row['prompt'])}")
    say(as_called(f"label them in the terminal with: lmtools hyre adapt --ask --run {source}"))


def _content(pair: "Preference") -> dict[str, Any]:
    """The pair as a contract record, its answers in their order in the file."""
    turns, chosen, rejected = pair.split()
    said = turns[0].content if len(turns) == 1 else [turn.model_dump(mode="json") for turn in turns]
    return {"prompt": said, "chosen": chosen, "rejected": rejected}


def _short(prompt: Any) -> str:
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return short(str(text), 70)


def score_answers(source: Path, input: str, weights: Path | None, output: Path | None, json: bool) -> None:
    """The rewards of prompts with their answers."""
    from lmtools.data.sources import load_instructions
    from lmtools.hyre.pairs import messages
    from lmtools.hyre.reward import open_reward
    from lmtools.models.features import AnsweredPrompt

    found = load_instructions(input)
    reward = open_reward(source, weights)
    if weights is None:
        say("no --weights: rewards before any example; where heads come with opposites, all are alike")
    answered = [AnsweredPrompt(messages(turns), answer) for turns, answer in (one.split() for one in found)]
    with closing(reward.reader):
        rewards = reward(answered)
    rows = [
        {**one.model_dump(mode="json", exclude_defaults=True), "reward": float(value)}
        for one, value in zip(found, rewards, strict=True)
    ]
    if output is not None:
        write_jsonl(output, rows)
        say(f"wrote {output}: {len(rows)} answers")
    emit({"results": rows, "output": output}, json)
    if output is None and not json:
        for row in rows:
            typer.echo(f"{row['reward']:+.4f}  {_short(row.get('completion') or row['messages'])}")
