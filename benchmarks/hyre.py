"""HyRe's costs: training, adapting and scoring with 100 heads against one, and reading pairs against TRL.

    python benchmarks/hyre.py --threads 2       a quarter of an hour on two cores

    training     100 heads on cached features, one head, and separate trainings of one head, of which 5 are
                 timed and multiplied by 20; random features of real size, default settings
    adapting     five examples to weights: rewards at hand, or texts that no cache holds and a loaded model
    scoring      a forward pass with 100 heads against transformers' sequence classifier, same batch
    extraction   the reader of features against RewardTrainer.evaluate of TRL, same pairs: TRL gets token ids
                 ready made, 8 pairs a batch as they come; lmtools tokenises, and keeps the features on disk

The classifier is the backbone with a random head, in float32 on the processor. What is compared takes turns,
every other round backwards. Figures are medians over rounds, ratios those of single rounds. ``apart`` is how
far the two sides' results differ: more than rounding is an error. Writes benchmarks/results/hyre.json.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from timeit import repeat, timeit
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from figures import spread
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, PrinterCallback
from trl import RewardConfig, RewardTrainer

from lmtools.core.arrays import Floats
from lmtools.core.environment import machine, versions
from lmtools.core.results import Results, Row
from lmtools.data.records import Preference
from lmtools.data.sources import load_preferences, load_targets
from lmtools.hyre.adapt import Margins, head_prior, posterior
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, Group, Scaler
from lmtools.hyre.heads import Examples, Heads, LinearHeads, SharedBase, bradley_terry, train_heads
from lmtools.hyre.pairs import answers, drawn, read_features
from lmtools.hyre.personal import margins
from lmtools.hyre.settings import AdaptSettings, TrainSettings
from lmtools.models.chat import EncodedAnswer, encode_answers
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import FeatureReader
from lmtools.models.load import load, load_tokenizer, resolve
from lmtools.models.pooling import HfPass, pack_rows, tensors
from lmtools.models.spec import ModelSpec

RESULTS = Path(__file__).parent / "results" / "hyre.json"
PAIRS, WIDTH, HEADS, ALONE, EXAMPLES, TEXTS, TRL_BATCH = 4174, 1152, 100, 5, 5, 8, 8
LAST, ADAPT, TRAIN = FeatureSettings(pooling=("last",)), AdaptSettings(), TrainSettings()


class Classifier:
    """A backbone as a reward model with a random head; ``folder`` takes what is written on the way."""

    def __init__(self, name: str, folder: Path) -> None:
        backbone, path = ModelSpec(name=name), str(folder / "model")
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(resolve(backbone).path, num_labels=1)
        model.float().save_pretrained(path)
        load_tokenizer(backbone).save_pretrained(path)
        os.environ["LMTOOLS_CACHE"] = str(folder)
        self.folder, self.spec = folder, ModelSpec(name=path, device="cpu")
        self.loaded = load(self.spec, reward=True)

    def open(self, settings: FeatureSettings) -> HfPass:
        """A pass of the loaded model, as a reader of features opens it."""
        last = int(self.loaded.model.config.num_hidden_layers)
        return HfPass(self.loaded, (last,), settings.pooling, self.spec.batch_tokens)

    def reader(self, settings: FeatureSettings) -> FeatureReader:
        """A reader with the model loaded, and one short pair in its cache."""
        os.environ["LMTOOLS_CACHE"] = tempfile.mkdtemp(dir=self.folder)
        reader = FeatureReader(self.spec, settings, lambda: self.open(settings))
        reader.read(answers([Preference(prompt="Ready?", chosen="Yes.", rejected="No.")]), "warm-up")
        return reader

    def texts(self, pairs: Sequence[Preference]) -> tuple[EncodedAnswer, ...]:
        """The token ids that a reader makes of chosen and rejected answers."""
        return encode_answers(self.loaded.tokenizer, answers(pairs), LAST.max_tokens).texts


def training(rounds: int) -> list[Row]:
    """100 heads, one head, and 5 times one head; that linear heads do not notice each other."""
    torch.manual_seed(0)
    data, start = Examples(torch.randn(PAIRS, WIDTH), torch.randn(PAIRS, WIDTH)), torch.randn(HEADS, WIDTH)
    shared = partial(SharedBase, WIDTH, outputs=1, hidden=TRAIN.hidden, prior_scale=TRAIN.prior_scale)

    def fit(*ensembles: Heads) -> None:
        for heads in ensembles:
            train_heads(heads, data, lambda margins, _: bradley_terry(margins), TRAIN, seed=0)

    together, *alone = [LinearHeads(part.clone()) for part in (start, *start[:ALONE, None])]
    fit(together, *alone)
    single = torch.cat([heads.weight for heads in alone])
    apart = checked("heads trained together", together.weight[:ALONE], single, 1e-2)
    trainings = [lambda count=count: fit(*map(shared, count)) for count in ([HEADS], [1], [1] * ALONE)]
    many, solo, separate = by_turns("training", rounds, *trainings) * [[1], [1], [HEADS / ALONE]]
    return [
        row("training/100", seconds=many, against_one=many / solo, speedup=separate / many, apart=apart),
        row("training/1", seconds=solo, seconds_100_times=separate),
    ]


def adapting(subject: Classifier, rounds: int) -> list[Row]:
    """Weights from five examples: of each call, and of each round with other texts."""
    ensemble = linear_heads(FeatureReader(subject.spec, FeatureSettings()))
    users = list(load_targets("atlas:preferences.targets").values())
    rewards = np.random.default_rng(0).normal(size=(EXAMPLES, HEADS))

    def from_text(reader: FeatureReader, pairs: Sequence[Preference]) -> None:
        features = read_features(reader, {"user": pairs}, "five pairs")["user"]
        adapted(margins(ensemble, features, ADAPT), ensemble.train_loss)

    right = softmax(-np.logaddexp(0, -rewards).sum(axis=0))
    apart = checked("weights", adapted(rewards, ensemble.train_loss)[0], right, 1e-9)
    calls = 1e3 * np.array(repeat(lambda: adapted(rewards, ensemble.train_loss), number=1, repeat=1000))
    drawn_pairs = [users[number % len(users)][:EXAMPLES] for number in range(rounds)]
    read = [
        timeit(partial(from_text, subject.reader(FeatureSettings()), pairs), number=1)
        for pairs in drawn_pairs
    ]
    return [
        row("adapting/rewards", milliseconds=calls, p99=np.quantile(calls, 0.99), apart=apart),
        row("adapting/text", seconds=read),
    ]


def scoring(subject: Classifier, rounds: int) -> list[Row]:
    """Rewards of 100 heads, the classifier's own the first of them, against those of the classifier."""
    by_prompt = {pair.prompt: pair for pair in load_preferences("atlas:preferences")}
    texts = subject.texts(list(by_prompt.values())[:TEXTS])[::2]  # a prompt each, so that none share a row
    ensemble, kept = linear_heads(FeatureReader(subject.spec, LAST)), dict[str, Any]()
    opened, model = subject.open(LAST), subject.loaded.model

    def ours() -> None:
        [(_, features)] = opened.read(texts)
        kept.update(features=features, ours=ensemble.outputs(features)[:, 0])

    def theirs() -> None:
        batch = tensors(pack_rows(texts, 0, 0, share=False), texts, "cpu")
        with torch.inference_mode():
            out = model(input_ids=batch.ids, attention_mask=(batch.part >= 0).long(), use_cache=False)
        kept.update(theirs=out.logits[:, 0].numpy())

    cost, peer = by_turns("scoring", rounds + 1, ours, theirs)[:, 1:]  # the first to warm up
    share = repeat(lambda: ensemble.outputs(kept["features"]), number=1, repeat=rounds) / peer
    apart = checked("rewards by our head and theirs", kept["ours"], kept["theirs"], 1e-3)
    return [
        row("scoring/100", seconds=cost, slower=cost / peer - 1, share_of_heads=share, apart=apart),
        row("scoring/classifier", seconds=peer, texts=len(texts), tokens=sum(map(len, texts))),
    ]


def extraction(subject: Classifier, source: str, rounds: int, count: int) -> list[Row]:
    """The classifier's accuracy on pairs that fit whole: by the reader of features and by TRL."""
    pairs = drawn(load_preferences(source), 2 * count, seed=0)
    pairs = [pair for pair in pairs if max(map(len, subject.texts([pair]))) < LAST.max_tokens]
    pairs = pairs[: min(count, len(pairs)) // TRL_BATCH * TRL_BATCH]  # TRL averages over batches
    ids = [[*text.prompt, *text.answer] for text in subject.texts(pairs)]
    scored = Dataset.from_dict({"chosen_ids": ids[::2], "rejected_ids": ids[1::2]})
    config = RewardConfig(
        output_dir=str(subject.folder / "trl"), per_device_eval_batch_size=TRL_BATCH, max_length=None,
        bf16=False, use_cpu=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = RewardTrainer(subject.loaded.model, config, None, scored, scored, load_tokenizer(subject.spec))
    trainer.remove_callback(PrinterCallback)
    trainer.evaluate(scored.select(range(TRL_BATCH)))
    readers, kept = [subject.reader(LAST) for _ in range(rounds)], dict[str, Any]()

    def ours() -> None:
        reader: Any = readers.pop()
        rewards = reader.read(answers(pairs), source) @ reader.own_head
        kept.update(margins=rewards[::2] - rewards[1::2])

    cost, peer = by_turns(source, rounds, ours, lambda: kept.update(trainer.evaluate()))
    right, scale = (kept["margins"] > 0).mean(), np.sqrt(np.square(kept["margins"]).mean())
    checked("accuracy by TRL", right, kept["eval_accuracy"], 1.01 / len(pairs), 1)  # one near-tie
    apart = checked("mean margin by TRL", kept["margins"].mean(), kept["eval_margin"], 1e-3, scale)
    fast, slow, size = len(ids) / cost, len(ids) / peer, sum(map(len, ids))
    return [
        row(f"{source}/lmtools", texts_per_second=fast, accuracy=right, speedup=peer / cost, apart=apart),
        row(f"{source}/TRL", texts_per_second=slow, accuracy=kept["eval_accuracy"], tokens=size),
    ]


def linear_heads(reader: FeatureReader) -> Ensemble:
    """The classifier's own head and 99 random ones."""
    weight = torch.randn(HEADS, reader.width, generator=torch.Generator().manual_seed(0))
    weight[0] = torch.as_tensor(reader.own_head)
    info = EnsembleInfo(task="preference", groups=(Group(source="random", count=HEADS, kind="linear"),))
    plain = Scaler(np.zeros(reader.width, np.float32), np.ones(reader.width, np.float32))
    return Ensemble(info, plain, (LinearHeads(weight),), np.ones(HEADS), np.zeros(HEADS))


def by_turns(what: str, rounds: int, *runs: Callable[[], object]) -> Floats:
    """Seconds of every run in every round, (runs, rounds); every other round goes backwards."""
    taken = np.zeros((len(runs), rounds))
    for number in range(rounds):
        for index in list(range(len(runs)))[:: -1 if number % 2 else 1]:
            taken[index, number] = timeit(runs[index], number=1)
        print(f"{what}, round {number + 1}: {taken[:, number].round(3)} s", file=sys.stderr, flush=True)
    return taken


def adapted(margins: Floats, train_loss: Floats) -> tuple[Floats, Floats]:
    """The weights of labelled pairs with these margins (n, K), and the heads' losses over them."""
    return posterior(Margins(margins), head_prior(train_loss, ADAPT), ADAPT)


def checked(what: str, first: Any, second: Any, most: float, size: float | None = None) -> float:
    """The largest difference of two arrays, over ``size`` or else the first one's root mean square."""
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    apart = float(np.abs(left - right).max() / (size or np.sqrt(np.square(left).mean())))
    if not apart <= most:
        raise SystemExit(f"{what}: {apart:.2g} apart, where {most:.2g} is allowed")
    return apart


def row(name: str, **figures: Any) -> Row:
    """The median of each figure over its rounds, or the figure itself."""
    arrays = {key: np.atleast_1d(np.asarray(values, np.float64)) for key, values in figures.items()}
    return Row(name, {key: spread(values.tolist()) for key, values in arrays.items()})


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--model", default=ModelSpec().name, help="the backbone: a name or a directory")
    parser.add_argument("--pairs", type=int, default=64, help="of extraction, of each source")
    parser.add_argument("--rounds", type=int, default=5, help="scoring, where 1 %% counts, has 4 times these")
    parser.add_argument("--threads", type=int, help="torch's threads; without it torch decides")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    sources = ("atlas:preferences", "data:preferences/train.jsonl")[: 1 + ("LMTOOLS_DATA" in os.environ)]
    rows = training(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        subject = Classifier(options.model, Path(folder))
        rows += adapting(subject, options.rounds) + scoring(subject, 4 * options.rounds)
        for source in sources:
            rows += extraction(subject, source, options.rounds, options.pairs)
    rows.append(row("setting", threads=torch.get_num_threads(), pairs_of_training=PAIRS, width=WIDTH))
    command = "python " + " ".join(["benchmarks/hyre.py", *arguments])
    Results("benchmarks/hyre", command, 0, versions(), machine(), tuple(rows)).write(options.out)
    for result in rows:
        print(result.name, {name: float(f"{value.value:.4g}") for name, value in result.metrics.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
