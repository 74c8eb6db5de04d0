"""HyRe's costs: training, adapting and scoring with 100 heads against one, and reading pairs against TRL.

    python benchmarks/hyre.py --threads 2       half an hour on two cores

    training     100 heads on cached features, one head, and separate trainings of one head, of which 5 are
                 timed and multiplied by 20; random features of real size, default settings
    adapting     five examples to weights: rewards at hand, or texts that no cache holds and a loaded model
    scoring      a forward pass with 100 heads against transformers' sequence classifier, same batches
    extraction   the reader of features against RewardTrainer.evaluate of TRL, same pairs: TRL gets their
                 token ids ready made, in batches of 8 pairs as they come; lmtools tokenises and keeps features

The classifier is the backbone with a random head; all run it in float32 on the processor. What is compared
takes turns, every other round backwards. Figures are medians over rounds, a ratio being that of one round,
with the bootstrap interval of the median. The run ends with an error where the sides do not compute the same.
Writes benchmarks/results/hyre.json.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax

from lmtools.core.manifest import machine, versions
from lmtools.core.results import Results, Row
from lmtools.core.statistics import Floats, bootstrap
from lmtools.data.sources import load_preferences, load_targets
from lmtools.hyre.adapt import adapted
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, Group
from lmtools.hyre.heads import Heads, LinearHeads, SharedBase
from lmtools.hyre.losses import bradley_terry
from lmtools.hyre.pairs import answers, drawn, read_features
from lmtools.hyre.recipe import AdaptSettings, TrainSettings
from lmtools.hyre.standard import Standard
from lmtools.hyre.train import Examples, train_heads
from lmtools.hyre.user import margins
from lmtools.models.answered import Text, tokenised
from lmtools.models.chat import Message
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import Answered, FeatureReader
from lmtools.models.load import load, load_tokenizer, resolve
from lmtools.models.packing import batches, rows, tensors
from lmtools.models.pooled import MOST_ON_CPU, HfPass
from lmtools.models.spec import ModelSpec

RESULTS = Path(__file__).parent / "results" / "hyre.json"
WIDTH, HEADS, ALONE, EXAMPLES, CALLS, TEXTS, TRL_BATCH = 1152, 100, 5, 5, 1000, 16, 8
LAST, ADAPT, TRAIN = FeatureSettings(pooling=("last",)), AdaptSettings(), TrainSettings()


class Classifier:
    """A backbone as a reward model with a random head; ``folder`` takes what is written on the way."""

    def __init__(self, name: str, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        backbone, self.folder = ModelSpec(name=name), folder
        torch.manual_seed(0)
        made = AutoModelForSequenceClassification.from_pretrained(
            resolve(backbone).path, num_labels=1, dtype=torch.float32
        )
        made.save_pretrained(folder / "model")
        load_tokenizer(backbone).save_pretrained(folder / "model")
        self.spec = ModelSpec(name=str(folder / "model"), device="cpu")
        self.loaded = load(self.spec, reward=True)

    def open(self, settings: FeatureSettings) -> HfPass:
        """A pass of the loaded model, as a reader of features opens it."""
        last = int(self.loaded.model.config.num_hidden_layers)
        return HfPass(self.loaded, (last,), settings.pooling, self.spec.batch_tokens)

    def reader(self, settings: FeatureSettings) -> FeatureReader:
        """A reader with the model loaded, and one short text in its cache."""
        os.environ["LMTOOLS_CACHE"] = tempfile.mkdtemp(dir=self.folder)
        reader = FeatureReader(self.spec, settings, lambda: self.open(settings))
        reader.read([Answered((Message("user", "Are you ready?"),), "I am.")], "warm-up")
        return reader

    def texts(self, answered: Sequence[Answered], most: int = LAST.max_tokens) -> tuple[Text, ...]:
        """The token ids that a reader makes of answers."""
        return tokenised(self.loaded.tokenizer, answered, most).texts


def training(rounds: int, pairs: int) -> list[Row]:
    """100 heads, one head, and 5 times one head with other seeds."""
    torch.manual_seed(0)
    data = Examples(torch.randn(pairs, WIDTH), torch.randn(pairs, WIDTH))

    def fit(heads: Heads, seed: int = 0) -> None:
        train_heads(heads, data, lambda found, _: bradley_terry(found), TRAIN, seed)

    def shared(count: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        fit(SharedBase(WIDTH, count, 1, TRAIN.hidden, TRAIN.prior_scale), seed)

    start = torch.randn(HEADS, WIDTH)  # linear heads: those on a trunk share what it learns
    together, alone = LinearHeads(start), [LinearHeads(start[k : k + 1]) for k in range(ALONE)]
    for heads in (together, *alone):
        fit(heads)
    single = torch.cat([heads.weight for heads in alone])
    apart = checked("heads trained together and alone", together.weight[:ALONE], single, 1e-2)
    many, one, separate = by_turns(
        "training",
        rounds,
        lambda: shared(HEADS),
        lambda: shared(1),
        lambda: [shared(1, seed) for seed in range(1, ALONE + 1)],
    )
    separate = separate * HEADS / ALONE
    return [
        row("training/100 heads", seconds=many, against_one=many / one, speedup=separate / many),
        row("training/1 head", seconds=one),
        row("training/100 separate", seconds=separate),
        row("training/linear heads, together and alone", apart=apart),
    ]


def adapting(subject: Classifier, rounds: int) -> list[Row]:
    """Weights from five examples: of each call, and of each round with other texts."""
    rewards = np.random.default_rng(0).normal(size=(2, EXAMPLES, HEADS))
    ensemble = random_heads(FeatureReader(subject.spec, FeatureSettings()).width)

    def at_hand() -> Floats:
        return adapted(rewards[0] - rewards[1], ensemble.fit, ADAPT)[0]

    evidence = -np.logaddexp(0, rewards[1] - rewards[0]).sum(axis=0)
    apart = checked("weights", at_hand(), softmax(evidence), 1e-9)
    calls = 1e3 * np.array([timed(at_hand) for _ in range(CALLS)])
    users = list(load_targets("atlas:preferences.targets").values())

    def from_text(number: int) -> float:
        reader, pairs = subject.reader(FeatureSettings()), users[number % len(users)][:EXAMPLES]
        start = time.perf_counter()
        own = read_features(reader, {"user": pairs}, "five pairs")["user"]
        adapted(margins(ensemble, own, ADAPT), ensemble.fit, ADAPT)
        return time.perf_counter() - start

    return [
        row("adapting/rewards at hand", milliseconds=calls, p99=np.quantile(calls, 0.99), apart=apart),
        row("adapting/from text", seconds=[from_text(number) for number in range(rounds)]),
    ]


def scoring(subject: Classifier, rounds: int) -> list[Row]:
    """Rewards of 100 heads, the classifier's own the first of them, against those of the classifier."""
    by_prompt = {pair.prompt: pair for pair in load_preferences("atlas:preferences")}
    # No two share a prompt, and so a row.
    texts = subject.texts(answers(list(by_prompt.values())[:TEXTS])[::2])
    reader, opened = FeatureReader(subject.spec, LAST), subject.open(LAST)
    ensemble, kept = random_heads(reader.width, reader.own_head), {}
    most = min(MOST_ON_CPU, subject.spec.batch_tokens)

    def ours() -> None:
        features = np.empty((len(texts), reader.width), np.float32)
        for places, values in opened.read(texts):
            features[places] = values
        kept.update(features=features, ours=ensemble.outputs(features)[:, 0])

    def theirs() -> None:
        rewards = np.empty(len(texts))
        for some in batches(rows(texts, reader.width, most, share=False), most):
            batch = tensors(some, texts, "cpu")
            mask = (batch.part >= 0).long()
            with torch.inference_mode():
                out = subject.loaded.model(input_ids=batch.ids, attention_mask=mask, use_cache=False)
            rewards[[place for place, *_ in batch.spans]] = out.logits[:, 0].numpy()
        kept.update(theirs=rewards)

    ours(), theirs()
    mine, peer = by_turns("scoring", rounds, ours, theirs)
    heads = np.array([timed(lambda: ensemble.outputs(kept["features"])) for _ in range(rounds)])
    apart = checked("rewards by our head and theirs", kept["ours"], kept["theirs"], 1e-3)
    slower, share = mine / peer - 1, heads / peer
    return [
        row("scoring/100 heads", **speed(texts, mine), slower=slower, share_of_heads=share, apart=apart),
        row("scoring/sequence classifier", **speed(texts, peer)),
    ]


def extraction(subject: Classifier, source: str, rounds: int, count: int) -> list[Row]:
    """The classifier's accuracy on pairs that fit whole, by the reader of features and by TRL."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    pairs, most = drawn(load_preferences(source), 2 * count, seed=0), LAST.max_tokens
    pairs = [pair for pair in pairs if max(map(len, subject.texts(answers([pair]), 2 * most))) <= most]
    pairs = pairs[: min(count, len(pairs)) // TRL_BATCH * TRL_BATCH]  # TRL averages over batches
    texts = subject.texts(answers(pairs))
    ids = [[*text.prompt, *text.answer] for text in texts]
    given = Dataset.from_dict({"chosen_ids": ids[::2], "rejected_ids": ids[1::2]})
    config = RewardConfig(
        output_dir=str(subject.folder / "trl"), per_device_eval_batch_size=TRL_BATCH, max_length=None,
        bf16=False, use_cpu=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    tokenizer = load_tokenizer(subject.spec)
    trainer = RewardTrainer(subject.loaded.model, config, None, given, given, tokenizer)
    trainer.evaluate(given.select(range(TRL_BATCH)))
    readers, kept = [subject.reader(LAST) for _ in range(rounds)], {}

    def ours() -> None:
        reader = readers.pop()
        rewards = reader.read(answers(pairs), source) @ reader.own_head
        kept.update(margins=rewards[::2] - rewards[1::2])

    mine, peer = by_turns(source, rounds, ours, lambda: kept.update(trainer.evaluate()))
    accuracy = (kept["margins"] > 0).mean()
    checked("accuracy by TRL", accuracy, kept["eval_accuracy"], 1e-6)
    apart = checked("mean margin by TRL", kept["margins"].mean(), kept["eval_margin"], 1e-3)
    return [
        row(f"{source}/lmtools", **speed(texts, mine), speedup=peer / mine, accuracy=accuracy, apart=apart),
        row(f"{source}/TRL", **speed(texts, peer), accuracy=kept["eval_accuracy"], pairs=len(pairs)),
    ]


def random_heads(width: int, first: ArrayLike | None = None) -> Ensemble:
    """100 random linear heads, the first of them given or not."""
    weight = torch.randn(HEADS, width, generator=torch.Generator().manual_seed(0))
    if first is not None:
        weight[0] = torch.as_tensor(first)
    info = EnsembleInfo(task="preference", groups=(Group(source="random", count=HEADS, kind="linear"),))
    plain = Standard(np.zeros(width, np.float32), np.ones(width, np.float32))
    return Ensemble(info, plain, (LinearHeads(weight),), np.ones(HEADS), np.zeros(HEADS))


def timed(run: Callable[[], object]) -> float:
    """The seconds that a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def by_turns(what: str, rounds: int, *runs: Callable[[], object]) -> Floats:
    """Seconds of every run in every round (runs, rounds); every other round goes backwards."""
    taken = np.zeros((len(runs), rounds))
    for number in range(rounds):
        for place in list(range(len(runs)))[:: -1 if number % 2 else 1]:
            taken[place, number] = timed(runs[place])
        print(f"{what}, round {number + 1}: {taken[:, number].round(3)} s", file=sys.stderr, flush=True)
    return taken


def checked(what: str, one: Any, other: Any, most: float) -> float:
    """The largest difference of two arrays over the root mean square of the first, if at most ``most``."""
    left, right = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    apart = float(np.abs(left - right).max() / np.sqrt(np.square(left).mean()).clip(1e-9))
    if not apart <= most:
        raise SystemExit(f"{what}: {apart:.2g} apart, where {most:.2g} is allowed")
    return apart


def speed(texts: Sequence[Text], taken: Floats) -> dict[str, Floats]:
    """Texts and tokens a second."""
    return {"texts_per_second": len(texts) / taken, "tokens_per_second": sum(map(len, texts)) / taken}


def row(name: str, **figures: ArrayLike) -> Row:
    """The median of each figure over its rounds, or the figure itself."""
    every = {key: np.atleast_1d(np.asarray(values, np.float64)) for key, values in figures.items()}
    return Row(name, {key: bootstrap(np.median, [values]) for key, values in every.items()})


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=ModelSpec().name, help="the backbone: a name or a directory")
    parser.add_argument("--pairs", type=int, default=64, help="of extraction, of each source")
    parser.add_argument("--training", type=int, default=4174, help="pairs of training")
    parser.add_argument("--rounds", type=int, default=5, help="scoring, where 1 %% counts, has 4 times these")
    parser.add_argument("--threads", type=int, help="torch's threads; without it torch decides")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    sources = ("atlas:preferences", "data:preferences/train.jsonl")[: 1 + ("LMTOOLS_DATA" in os.environ)]
    found = training(options.rounds, options.training)
    with tempfile.TemporaryDirectory() as folder:
        subject = Classifier(options.model, Path(folder))
        found += adapting(subject, options.rounds) + scoring(subject, 4 * options.rounds)
        for source in sources:
            found += extraction(subject, source, options.rounds, options.pairs)
    found.append(row("setting", threads=torch.get_num_threads(), pairs=options.training, width=WIDTH))
    command = "python " + " ".join(["benchmarks/hyre.py", *arguments])
    Results("benchmarks/hyre", command, 0, versions(), machine(), tuple(found)).write(options.out)
    for one in found:
        print(one.name, {name: float(f"{value.value:.4g}") for name, value in one.metrics.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
