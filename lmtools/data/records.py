"""The records that flow through lmtools, one frozen model per data contract.

Questions and passages (LeReT), multiple-choice and truthful questions (calibration), instructions (ATS) and
preference pairs (HyRe). What a value breaks of the contract is raised as ``broken(problem, mend)``, which
``lmtools.data.faults`` turns into a fault with line and field.
"""

import json
import re
import string
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lmtools.core.files import sha256_text
from lmtools.core.strings import cut

# Dialogues written as one text, in the form of hh-rlhf (Bai et al., 2022).
#
# "\n\nHuman: What is a pen?\n\nAssistant: A thing to write with."

DialogueTurn = tuple[Literal["user", "assistant"], str]
"""Role and content of a turn."""
SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?=\s|\Z)")


def dialogue(text: str) -> tuple[DialogueTurn, ...]:
    r"""The turns of a text that opens with one; none if it is no dialogue.

    Empty turns are dropped, and what one of the two says twice in a row is one turn: chat templates want the
    roles to alternate.

    >>> dialogue("Human: Hi\n\nAssistant: Hello.\n\nHuman:")
    (('user', 'Hi'), ('assistant', 'Hello.'))
    """
    before, *rest = SPEAKER.split(text.strip())
    if before or not rest:
        return ()
    turns: list[DialogueTurn] = []
    for speaker, content in zip(rest[::2], map(str.strip, rest[1::2]), strict=True):
        role: Literal["user", "assistant"] = "user" if speaker == "Human" else "assistant"
        if content and turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{content}")
        elif content:
            turns.append((role, content))
    return tuple(turns)


def common_start(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items two sequences begin with in common, the last item of each aside.

    >>> common_start("abcd", "abce"), common_start("ab", "abc"), common_start("ab", "ab")
    (3, 1, 1)
    """
    most = max(0, min(len(first), len(second)) - 1)
    return next((position for position in range(most) if first[position] != second[position]), most)


LETTERS = string.ascii_uppercase
BROKEN = "contract"
"""The type of errors whose text and ``mend`` stand in the fault as they are."""


def as_tuples(value: object) -> object:
    """Lists, at any depth, as the tuples that a frozen record keeps; anything else is left as it is."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


def broken(problem: str, mend: str) -> PydanticCustomError:
    """What a validator raises where a value breaks the contract."""
    return PydanticCustomError(BROKEN, "{problem}", {"problem": problem, "mend": mend})


def as_id(value: object) -> object:
    """A whole number as its digits, for ids; anything else is left as it is.

    1.0 is 1: tables with a gap in a column of numbers are written so. Beyond 2^53 such numbers have lost
    digits, and are no id.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_whole(value: object) -> object:
    """The whole number that a cell of a table has as text or as 1.0; an empty cell is none."""
    if isinstance(value, str):
        digits = re.fullmatch(r"\s*([+-]?[0-9]{1,18})(?:\.0+)?\s*", value)
        return int(digits[1]) if digits else value if value.strip() else None
    return int(value) if isinstance(value, float) and value.is_integer() else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuples)]
"""A list of texts."""
Id = Annotated[str, BeforeValidator(as_id)]
"""A text, or a whole number, whose digits it is."""


class Record(BaseModel):
    """A record: frozen; unknown fields of a file are ignored, so users may keep their own beside ours.

    A null is an absent field: tables and the hub write one wherever a record has less than another.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, record: Any) -> Any:
        if isinstance(record, dict) and None in record.values():
            return {name: value for name, value in record.items() if value is not None}
        return record


class Question(Record):
    """A question with the titles of the passages that answer it (``supporting``, in reading order).

    >>> Question(id="q1", question="Where was Anna Berg born?", supporting=("Anna Berg",)).supporting
    ('Anna Berg',)
    """

    id: Id = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = ""
    aliases: Texts = ()
    supporting: Texts = ()
    kind: str = ""
    """``bridge``, ``comparison``, a number of hops; empty where the source does not say."""


class TruthfulQuestion(Question):
    """A question that invites a falsehood: ``answer`` and ``aliases`` are true, ``incorrect`` is not."""

    incorrect: Texts = Field(min_length=1)


class Passage(Record):
    """A passage of a corpus; ``title`` is what ``Question.supporting`` refers to. ``_id`` is an id too.

    >>> Passage(id="p1", title="Anna Berg", text="Anna Berg was born in Lund.").title
    'Anna Berg'
    """

    id: Id = Field(min_length=1, validation_alias=AliasChoices("id", "_id"))
    title: str
    text: str


class MultipleChoice(Record):
    """A question with its options; ``answer`` is the place of the right one, from 0.

    A file may have it as text, or as a letter: B is 1.
    """

    id: Id = Field(min_length=1)
    question: str = Field(min_length=1)
    choices: Texts = Field(min_length=2)
    answer: int
    subject: str = ""

    @field_validator("answer", mode="before")
    @classmethod
    def _place(cls, answer: Any, info: ValidationInfo) -> Any:
        choices = info.data.get("choices", ())
        is_letter = isinstance(answer, str) and len(answer) == 1 and answer in LETTERS
        index = LETTERS.index(answer) if is_letter else as_whole(answer)
        if isinstance(answer, str) and answer in choices and choices.index(answer) != index:
            problem = (
                f"{cut(answer, 40)!r} is the text of a choice, where the place of the right one is expected"
            )
            raise broken(problem, f"write {choices.index(answer)}, as a number, if that choice is meant")
        return index

    @field_validator("answer")
    @classmethod
    def _within(cls, answer: int, info: ValidationInfo) -> int:
        count = len(info.data.get("choices", ()))
        if count and not 0 <= answer < count:
            problem = f"there is no choice {answer} among {count}, counted from 0"
            raise broken(problem, f"write the place of the right choice, 0 to {count - 1}")
        return answer


def joined_parts(value: object) -> object:
    """The text of a content in parts, ``[{"type": "text", "text": "..."}]``; anything else as it is."""
    if not isinstance(value, list) or not value:
        return value
    texts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in TEXT_PARTS or not isinstance(text, str):
            problem = (
                f"a part of type {cut(str(kind), 40)!r}" if kind not in TEXT_PARTS else "a part without text"
            )
            raise broken(f"{problem}, where only text can be read", "write the content as one text")
        texts.append(text)
    return "".join(texts)


TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of the parts of a content that are text, as chat APIs name them."""


class Turn(Record):
    """One turn of a conversation in a file; the text parts of a content are joined."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, BeforeValidator(joined_parts)]


def ends_with_answer(messages: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns, if the assistant's answer to another turn ends them, or if there is none."""
    if messages and messages[-1].role != "assistant":
        problem = f"the last turn is the {messages[-1].role}'s"
        raise broken(problem, "end with the assistant's turn: it is what is learned")
    if messages and not messages[-1].content:
        raise broken("the last turn is empty", "write at least one character, or drop the record")
    if len(messages) == 1:
        raise broken("there is no turn before the assistant's", "begin with what the user says")
    return messages


Turns = Annotated[tuple[Turn, ...], BeforeValidator(as_tuples), AfterValidator(ends_with_answer)]
"""A conversation that ends with the assistant's answer."""


class Instruction(Record):
    """What a user says and what is to be answered: ``prompt`` and ``completion``, or else ``messages``."""

    prompt: str = ""
    completion: str = ""
    messages: Turns = ()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.messages and (self.prompt or self.completion):
            raise broken("both `messages` and a prompt or completion", "keep one of the two forms")
        if not self.messages and not (self.prompt and self.completion):
            raise broken("neither `messages` nor a prompt with its completion", "write one of the two forms")
        return self

    def split(self) -> tuple[tuple[Turn, ...], str]:
        """The turns before the answer, and the answer."""
        if self.messages:
            return self.messages[:-1], self.messages[-1].content
        return (Turn(role="user", content=self.prompt),), self.completion


def as_text_or_turns(value: object) -> object:
    """A text as it is, a list as turns; raises what is wrong with the turns in the words of the contract."""
    return value if isinstance(value, str) else TURNS.validate_python(as_tuples(value))


TURNS: TypeAdapter[tuple[Turn, ...]] = TypeAdapter(tuple[Turn, ...])
TextOrTurns = Annotated[str | tuple[Turn, ...], BeforeValidator(as_text_or_turns)]
"""A text, or the turns of a conversation."""


def split_pair(
    prompt: TextOrTurns, chosen: TextOrTurns, rejected: TextOrTurns
) -> tuple[tuple[Turn, ...], str, str]:
    """What TRL's forms of a pair have in common: the turns before the answers, and the two answers.

    Args:
        prompt: a text, a dialogue in hh-rlhf's form, or turns; empty if the answers open with it.
        chosen: the answer, as a text or the assistant's turn; or the whole conversation, the answer its end.
        rejected: the same.

    Raises:
        PydanticCustomError: there is no prompt, or the two are not single answers to the same conversation.
    """
    context = _turns(prompt)
    first, second = (_turns(answer, "assistant" if context else "") for answer in (chosen, rejected))
    count = common_start(first, second)
    shared, ends = first[:count], (first[count:], second[count:])
    if not any(turn.content.strip() for turn in context or shared):
        problem = (
            "the prompt is empty" if first and second else "no prompt, and no dialogue that opens with one"
        )
        raise broken(problem, "write what is answered into `prompt`")
    if shared and context and shared[-len(context) :] != context:
        raise broken("the conversations do not open with the prompt", "leave `prompt` out, or mend it")
    if any(len(end) != 1 or end[0].role != "assistant" for end in ends):
        problem = "chosen and rejected are not two answers of the assistant to the same conversation"
        raise broken(problem, "let them differ in the last turn alone")
    return shared or context, ends[0][0].content, ends[1][0].content


def _turns(value: TextOrTurns, role: Literal["user", "assistant", ""] = "user") -> tuple[Turn, ...]:
    """The turns of what is said; a text is a dialogue, or else one turn of ``role``, if that is named."""
    if not isinstance(value, str):
        return value
    spoken = () if role == "assistant" else dialogue(value)
    if not spoken and role and (value or role == "assistant"):
        return (Turn(role=role, content=value),)
    return tuple(Turn(role=speaker, content=text) for speaker, text in spoken)


class Preference(Record):
    """Two answers of which one is better, in any of TRL's forms; see ``compared``.

    ``distribution`` is the user, task or data set whose judgement it is.

    >>> pair = Preference(prompt="Name a river.", chosen="The Seine.", rejected="No.", distribution="anna")
    >>> pair.split()[1:]
    ('The Seine.', 'No.')
    """

    id: Id = ""
    prompt: TextOrTurns = ""
    chosen: TextOrTurns
    rejected: TextOrTurns
    distribution: Id = ""

    @model_validator(mode="after")
    def _two_answers(self) -> Self:
        _, chosen, rejected = self.split()
        for name, answer in (("chosen", chosen), ("rejected", rejected)):
            if not answer.strip():
                raise broken(f"`{name}` is empty", "write at least one character, or drop the pair")
        if chosen.strip() == rejected.strip():
            raise broken("`chosen` and `rejected` are the same", "drop the pair: it prefers nothing")
        return self

    @property
    def key(self) -> str:
        """The id, or else what the content makes of itself: the first 16 hex digits of its SHA-256."""
        turns, *answers = self.split()
        content = [[[turn.role, turn.content] for turn in turns], *answers]
        return self.id or sha256_text(json.dumps(content))[:16]

    def split(self) -> tuple[tuple[Turn, ...], str, str]:
        """The turns before the answers, the chosen answer, the rejected one."""
        return split_pair(self.prompt, self.chosen, self.rejected)
