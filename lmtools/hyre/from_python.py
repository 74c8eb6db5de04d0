"""HyRe from Python: what `lmtools hyre train` does as a function, and a trained run as a reward model."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.data.records import Preference
from lmtools.hyre.pairs import read_features
from lmtools.hyre.personal import margins, weigh
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.reward import RewardModel, open_reward
from lmtools.models.chat import Message
from lmtools.models.features import AnsweredPrompt
from lmtools.models.precision import describe_precisions
from lmtools.models.recipes import named_recipe

DEFAULT = "hyre/quickstart"


def run_training(
    recipe: HyreRecipe | str = DEFAULT, out: Path | str = "runs/hyre-train", settings: Sequence[str] = (),
    *, resume: bool = False,
) -> Results:  # fmt: skip
    """Train the ensembles of a recipe on preference pairs; the same as `lmtools hyre train`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        resume: continue the run in ``out``; a finished one is only read.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_training("my-hyre.yaml", "runs/axes", ["compare=[]"])
    >>> [row.name for row in results.rows]
    ['pca', 'single head']
    """
    from lmtools.hyre.commands import train
    from lmtools.hyre.inputs import prepare

    name, config = named_recipe(HyreRecipe, recipe, settings, default=DEFAULT)
    setup = prepare(config)
    command = ["lmtools.hyre.run_training", name, *settings]
    with (
        closing(setup.reader),
        Run.create(
            Path(out),
            config,
            command=command,
            inputs=setup.inputs,
            resume=resume,
            seed=config.seed,
            precision=describe_precisions(config),
        ) as run,  # fmt: skip
    ):
        results = train(setup, run, name)
        run.finish(results)
    return results


@dataclass(frozen=True)
class Rewarder:
    """A reward model for one user: an ensemble under weights. Made by ``load_reward``.

    >>> with load_reward("runs/hyre-train") as reward:
    ...     rewards = reward.score("Name a river.", ["The Seine.", "I do not know."])
    >>> len(rewards)
    2
    """

    model: RewardModel

    def score(self, prompt: str | Sequence[Message], answers: Sequence[str]) -> list[float]:
        """The rewards of answers to one prompt, a text or the turns of a conversation.

        Only rewards of answers to the same prompt compare.

        Raises:
            DataError: an answer is empty.
        """
        turns = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        found = self.model([AnsweredPrompt(turns, answer) for answer in answers])
        return [float(reward) for reward in found]

    def best(self, prompt: str | Sequence[Message], answers: Sequence[str]) -> str:
        """The answer with the highest reward, of equal ones the first."""
        rewards = self.score(prompt, answers)
        return answers[rewards.index(max(rewards))]

    def adapt(self, pairs: Sequence[Preference]) -> "Rewarder":
        """The reward model of the user who labelled these pairs: other weights on the same heads.

        It takes a pass of the language model over the pairs, and no training. Pairs that these weights were
        learned from are not remembered: give all of a user's pairs at once.

        >>> liked = {"prompt": "Name a river.", "chosen": "Seine", "rejected": "The Seine, of course."}
        >>> with load_reward("runs/hyre-train") as reward:
        ...     mine = reward.adapt([Preference(**liked)])
        >>> mine.model.weights.effective_heads < reward.model.weights.effective_heads
        True
        """
        before, ensemble = self.model.weights, self.model.ensemble
        own = read_features(self.model.reader, {"": pairs}, "labelled pairs")[""]
        known = margins(ensemble, own, before.settings)
        weights = weigh(ensemble, known, own.keys, before.settings, before.ensemble)
        return Rewarder(replace(self.model, weights=weights))

    def close(self) -> None:
        """Let go of the language model; what was adapted from this one shares it."""
        self.model.reader.close()

    def __enter__(self) -> "Rewarder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_reward(run: Path | str, weights: Path | str | None = None) -> Rewarder:
    """The reward model of a trained run.

    Args:
        run: of `lmtools hyre train`.
        weights: the file or the run of `lmtools hyre adapt`; None: those before any example.

    Raises:
        RunError: the directory holds no trained ensemble.
        ModelError: the backbone has changed since, or the weights are for another ensemble.

    >>> with load_reward("runs/hyre-train") as reward:
    ...     reward.best("Name a river.", ["The Seine.", "The Seine."])
    'The Seine.'
    """
    return Rewarder(open_reward(Path(run), None if weights is None else Path(weights)))
