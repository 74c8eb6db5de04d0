"""Every setting of a LeReT run: how queries are tried, how the policy is trained, what is measured.

The description of a field says what the setting does and what it costs; `lmtools recipes show --explain`
prints them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmtools.core.config import SYSTEM, Config, Location, Seed
from lmtools.data.locations import Source, source_file
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.config import Bm25Config, RetrieverConfig

# How queries are tried: the `explore:` block of a LeReT recipe.

Explorer = Literal[
    "zero-shot",
    "few-shot",
    "temperature",
    "question",
    "drop-word",
    "leftover",
    "question+title",
    "phrase",
    "phrase+leftover",
    "question+phrase",
]
RewardName = Literal["ap", "recall", "ndcg", "answer-em", "answer-f1"]


class ExploreSettings(Config):
    """How queries are tried, and what is a good one."""

    first: tuple[Explorer, ...] = Field(
        default=("zero-shot", "few-shot"),
        description="Explorers of the first hop. Where several queries earn the same reward, the explorer "
        "listed first gives the SFT target. zero-shot, few-shot and temperature generate with the model, "
        "which is what takes time; the others are rules on the question's own words, and nearly free.",
    )
    later: tuple[Explorer, ...] = Field(
        default=("zero-shot", "few-shot"),
        description="Explorers of the later hops, likewise in order of precedence.",
    )
    few_shot_prompts: int = Field(
        default=3,
        ge=0,
        description="How many few-shot prompts to keep, the best of the candidates; each is one more "
        "generation per question and hop.",
    )
    few_shot_candidates: int = Field(
        default=12,
        ge=1,
        description="Candidate few-shot prompts to score; each costs a generation per selection question "
        "and hop.",
    )
    demonstrations: int = Field(
        default=3,
        ge=1,
        description="Demonstrations in a few-shot prompt, at most; each makes every such prompt longer.",
    )
    bootstrap_questions: int = Field(
        default=50,
        ge=1,
        description="Training questions from which demonstrations are drawn; each costs a generation per "
        "hop.",
    )
    selection_questions: int = Field(
        default=50,
        ge=1,
        description="Training questions on which candidates are scored; time grows with this times "
        "few_shot_candidates.",
    )
    samples: int = Field(
        default=1,
        ge=1,
        description="Samples of the `temperature` explorer per question and hop; each is a generation.",
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="Of the `temperature` explorer: above 1 its queries differ more, towards 0 they become "
        "the greedy one. No cost.",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Of the `temperature` explorer: draw from the smallest set of tokens with this "
        "probability. No cost.",
    )
    max_phrases: int = Field(
        default=24,
        ge=1,
        description="Queries that one rule may propose per question and hop; each costs a search, and none "
        "a generation.",
    )
    contexts: int = Field(
        default=1,
        ge=1,
        description="Sampled outcomes a question goes on with, per hop: 2 make twice the examples of later "
        "hops, in twice the time.",
    )
    reward: RewardName = Field(
        default="ap",
        description="What a query earns: average precision, recall or nDCG of the gold titles in the "
        "cumulative context; or exact match / F1 of the answer that a generator gives from it "
        "(`answer-*`, far slower).",
    )
    chunk: int = Field(
        default=64,
        ge=1,
        description="Questions explored together; also the most work that a killed run repeats.",
    )


# How a query writer is trained on what was tried: the `train:` block of a LeReT recipe.

LossName = Literal[
    "ipo",
    "ipo-mean",
    "sigmoid",
    "hinge",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "aot",
]


class LoraSettings(Config):
    """The adapter."""

    r: int = Field(
        default=32, ge=1, description="Rank: adapter size, and a little of the time, grow with it."
    )
    alpha: int = Field(default=32, ge=1, description="Scale: updates are multiplied by alpha / r. No cost.")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the adapter's input that is dropped while it trains, against overfitting. No "
        "cost.",
    )
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear",
        description="Which layers get an adapter: `all-linear`, or names such as [q_proj, v_proj]; fewer "
        "are smaller, faster and learn less.",
    )


class SftSettings(Config):
    """Context-distillation SFT on the best query of each prompt."""

    enabled: bool = Field(
        default=True, description="false skips SFT: preference optimisation starts from the policy as it is."
    )
    epochs: float = Field(
        default=1.0, gt=0, description="Passes over the examples (paper: 1); time grows with it."
    )
    batch_size: int = Field(
        default=8,
        ge=1,
        description="Examples per step and process (paper: 8 over all of them); memory grows with it.",
    )
    learning_rate: float = Field(
        default=5e-4,
        gt=0,
        description="Peak learning rate; about 1e-7 for full fine-tuning of 8 B. Too high a one forgets "
        "how to write.",
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="Steps of linear warm-up to the peak rate; then linear decay to 0."
    )
    optimizer: str = Field(
        default="adamw_torch",
        description="transformers' name of the optimiser (paper: rmsprop); adamw_torch keeps 8 bytes for "
        "each trained weight, rmsprop 4.",
    )


class PreferenceSettings(Config):
    """Preference optimisation from the SFT checkpoint, which is also the reference."""

    enabled: bool = Field(
        default=True,
        description="false stops after SFT, whose checkpoint is then the policy; saves the time.",
    )
    loss: LossName = Field(
        default="ipo",
        description="`ipo` is the paper's: squared error on summed log-probabilities. `ipo-mean` is TRL's "
        "length-normalised form, on which beta means something else. The others are TRL's by name.",
    )
    beta: float = Field(
        default=0.05,
        gt=0,
        description="Strength of the pull towards the reference (paper: 0.05); lower lets the policy move "
        "further. No cost.",
    )
    epochs: float = Field(
        default=1.0, gt=0, description="Passes over the pairs (paper: 2); time grows with it."
    )
    batch_size: int = Field(
        default=4,
        ge=1,
        description="Pairs per step and process (paper: 4 over all of them); memory grows with it, twice "
        "as fast as in SFT.",
    )
    learning_rate: float = Field(
        default=1e-5,
        gt=0,
        description="Peak learning rate; 1e-7 for full fine-tuning of 8 B. Too high a one forgets what SFT "
        "taught.",
    )
    warmup_steps: int = Field(
        default=20,
        ge=0,
        description="Steps of linear warm-up to the peak rate (paper: 150); then linear decay to 0.",
    )
    optimizer: str = Field(
        default="rmsprop",
        description="transformers' name of the optimiser (paper: rmsprop); adamw_torch keeps 8 bytes for "
        "each trained weight, rmsprop 4.",
    )
    max_pairs: int | None = Field(
        default=64,
        gt=0,
        description="At most this many pairs per prompt, drawn by seed; null keeps all. Four prompts a "
        "hop, as in the paper, give four at most; rules give thousands. Time grows with it.",
    )
    total_pairs: int | None = Field(
        default=None,
        gt=0,
        description="At most this many pairs in all, drawn by seed; null keeps all. Sets how long "
        "preference training takes.",
    )
    explorers: tuple[Explorer, ...] | None = Field(
        default=None,
        description="Pair only queries of these explorers, such as those a model wrote; null pairs all.",
    )


class TrainSettings(Config):
    """Turning what was tried into a policy."""

    iterations: int = Field(
        default=1,
        ge=1,
        description="Explore, then train, this often; each on its own slice of questions, and from the "
        "policy of the one before.",
    )
    full: bool = Field(
        default=False, description="Train all weights instead of a LoRA adapter: 3-4x the memory."
    )
    lora: LoraSettings = Field(
        default=LoraSettings(),
        description="The adapter that is trained; not looked at with `full: true`.",
    )
    sft: SftSettings = Field(
        default=SftSettings(),
        description="Context-distillation SFT: learn the best query of each prompt, without the "
        "demonstrations that led to it.",
    )
    preference: PreferenceSettings = Field(
        default=PreferenceSettings(),
        description="Preference optimisation from the SFT checkpoint, which is also the reference.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        description="Longest gradient; longer ones are shortened to it (paper: 10). No cost.",
    )
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        description="Batches per optimiser step: a larger batch in the same memory, with fewer steps.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Halves memory for about a third more time."
    )
    max_length: int = Field(
        default=1024,
        ge=16,
        description="Longest prompt plus query, in tokens; longer prompts are an error. Memory grows with "
        "the longest one there is.",
    )
    save_steps: int = Field(
        default=50,
        ge=1,
        description="Steps between checkpoints that --resume can start from; the most that a killed run "
        "repeats. Each is written to disk.",
    )


class DataSettings(Config):
    """Questions to learn from, questions to measure on, and the corpus to search."""

    train: Source = Field(
        default="atlas:train",
        description="Questions to learn from: a file, `atlas:SPLIT`, `data:FILE` of $LMTOOLS_DATA or "
        "`hf:REPO[:CONFIG][:SPLIT]`. Time grows with their number.",
    )
    test: Source = Field(
        default="atlas:test", description="Questions to measure on, named like `train`; never trained on."
    )
    corpus: Annotated[str | None, Location(source_file)] = Field(
        default="atlas",
        description="The passages to search: a file, `atlas`, `data:FILE` or `hf:REPO...`; indexed once "
        "and kept. null, with the http retriever only: the service sends their text; gold titles are then "
        "not checked.",
    )
    train_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use only the first N training questions; null: all. Exploring and training take time "
        "in proportion.",
    )
    test_skip: int = Field(
        default=0,
        ge=0,
        description="Leave out the first N test questions, so that one file can serve both for training "
        "and for measuring.",
    )
    test_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use only the first N test questions of those that are left; null: all. Fewer are "
        "faster and make intervals wider.",
    )


class HopSettings(Config):
    """What one hop is: the same for exploring, measuring and searching."""

    hops: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Searches per question, one after the other (HotpotQA 2, HoVer 4). Time grows with it.",
    )
    k: int = Field(
        default=3,
        ge=1,
        description="Passages that one search adds to the context; more finds more and makes the later "
        "prompts longer.",
    )
    fresh: bool = Field(
        default=True,
        description="A search returns the k best passages that are not in the context yet: every hop "
        "spends its budget on new text. false: the k best as they come, without duplicates (the paper).",
    )
    order: Literal["found", "score"] = Field(
        default="found",
        description="Order of the context: as found, hop by hop, or by retriever score (the paper's way; "
        "BM25 scores grow with the length of the query, so there it favours long queries).",
    )
    passage_words: int = Field(
        default=50,
        ge=1,
        description="Words of each passage shown to the policy: more costs time and memory in proportion.",
    )
    max_query_tokens: int = Field(
        default=64,
        ge=1,
        description="Longest query, in tokens. What a rule proposes beyond it is not tried: the policy "
        "could not write it. Generation time grows with it.",
    )


class EvalSettings(Config):
    """What is measured after training."""

    policies: tuple[Literal["question", "zero-shot", "few-shot", "sft", "trained"], ...] = Field(
        default=("question", "zero-shot", "few-shot", "sft", "trained"),
        min_length=1,
        description="Rows of the table. Each but `question` costs one generation per question and hop. A "
        "stage that was off has no row.",
    )
    answers: bool = Field(
        default=False,
        description="Also let the answering model answer from what was found: exact match and F1. Costs "
        "one more generation per question and policy.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )


class LeretRecipe(Config):
    """A LeReT run: what to search, how to explore, how to train, what to measure."""

    system: Literal["leret"] = Field(default="leret", description=SYSTEM)
    seed: Seed = 0
    model: ModelSpec = Field(
        default=ModelSpec(),
        description="The language model that learns to write queries: which one, at which precision, run "
        "by what.",
    )
    answerer: ModelSpec | None = Field(
        default=None,
        description="The model that answers for `answer-*` rewards and `eval.answers`; null: the base "
        "model. Another one takes its own memory.",
    )
    data: DataSettings = Field(
        default=DataSettings(),
        description="Questions to learn from and to measure on, and the corpus to search.",
    )
    retriever: RetrieverConfig = Field(
        default=Bm25Config(),
        description="What a query is sent to; its `kind` decides which other settings there are.",
    )
    hop: HopSettings = Field(
        default=HopSettings(),
        description="What one search is: the same for exploring, measuring and searching.",
    )
    explore: ExploreSettings = Field(
        default=ExploreSettings(),
        description="How queries are tried, and what makes a good one.",
    )
    train: TrainSettings = Field(
        default=TrainSettings(),
        description="How what was tried becomes a policy: supervised fine-tuning, then preference "
        "optimisation.",
    )
    eval: EvalSettings = Field(
        default=EvalSettings(),
        description="What is measured after training.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("first", "later"):
            explorers = getattr(self.explore, name)
            if not explorers:
                raise ValueError(f"explore.{name} is empty: name at least one explorer")
            if "few-shot" in explorers and self.explore.few_shot_prompts == 0:
                raise ValueError(f"explore.{name} has `few-shot`, but explore.few_shot_prompts is 0")
        if self.data.corpus is None and self.retriever.kind != "http":
            raise ValueError(f"data.corpus is null, and the {self.retriever.kind} retriever needs a corpus")
        return self
