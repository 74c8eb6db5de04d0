"""How much of a list a page holds, and what becomes of the rest.

A page stays below a size that a browser opens at once. Of each list the first entries are kept, as many as
fit; the rest, and those whose texts had to be cut, go uncut into a file beside the page.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmtools.core.strings import cut
from lmtools.report.elements import Block, Browser, Entry, Item

BYTES = 6_000_000
"""Of all lists of a page together; with charts and tables it stays below 10 MB."""
LONGEST, LONGEST_CELL = 4_000, 300
"""Characters of a text inside an entry, and of a cell."""


@dataclass
class ByteBudget:
    """The bytes that lists may take, shared among them, and what they left out.

    Args:
        file: the name of the file beside the page that takes what is left out.
    """

    file: str
    size: int = BYTES
    texts: list[str] = field(default_factory=list)
    """Long texts, each once; entries refer to them by number."""
    left_out: list[dict[str, Any]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _unshared: int = 0

    def share(self, browsers: Sequence[Browser]) -> None:
        """Say which lists will come; each is given an equal part of what the ones before it left."""
        self._unshared = len(browsers)

    def next(self) -> int:
        """Bytes for the next list."""
        allowance = self.size // max(1, self._unshared)
        self._unshared -= 1
        return allowance

    def spend(self, size: int) -> None:
        """A list took ``size`` bytes."""
        self.size -= size

    def number_text(self, text: str) -> tuple[int, int]:
        """The number of a long text, and the bytes it costs: none if it is there already."""
        if text in self._numbers:
            return self._numbers[text], 0
        self._numbers[text] = len(self.texts)
        self.texts.append(text)
        return self._numbers[text], _size(text)


def browser_json(browser: Browser, budget: ByteBudget) -> dict[str, Any]:
    """What the page's script makes a list from; adds what does not fit to ``budget.left_out``.

    Raises:
        ValueError: an entry carries an option that its filter does not have.
    """
    codes = {
        name: {option: n for n, option in enumerate(options)} for name, options in browser.filters.items()
    }
    allowance, spent, kept, left_count = budget.next(), 0, [], 0
    # The first entry that does not fit ends the list: what follows would be less informative ones.
    for entry in browser.entries:
        if left_count == 0:
            packed, size = _packed(entry, codes, budget)
            if spent + size <= allowance:
                kept.append(packed)
                spent += size
                if _is_cut(entry):
                    budget.left_out.append(_full_record(browser, entry))
                continue
        left_count += 1
        budget.left_out.append(_full_record(browser, entry))
    budget.spend(spent)
    filters = [(name, list(options), name in browser.hidden) for name, options in browser.filters.items()]
    return {
        "columns": list(browser.columns), "filters": filters, "entries": kept,
        "left": left_count, "file": budget.file,
    }  # fmt: skip


def _packed(entry: Entry, codes: dict[str, dict[str, int]], budget: ByteBudget) -> tuple[list[Any], int]:
    """An entry as the script reads it, and its bytes."""
    # Options by number, long texts by number: each stands in the page once.
    options = [_coded(entry.options.get(name), option_codes) for name, option_codes in codes.items()]
    detail, size = [], 0
    for block in entry.detail:
        items: list[list[Any]] = []
        for item in block.items:
            line: list[Any] = [cut(item.text, LONGEST), item.mark]
            if item.more:
                number, cost = budget.number_text(cut(item.more, LONGEST))
                line.append(number)
                size += cost
            items.append(line)
        detail.append([block.heading, cut(block.text, LONGEST), items])
    packed = [[cut(cell, LONGEST_CELL) for cell in entry.cells], options, detail]
    return packed, size + _size(packed)


def _coded(option: str | Sequence[str] | None, option_codes: dict[str, int]) -> Any:
    if option is None:
        return None
    try:
        return option_codes[option] if isinstance(option, str) else [option_codes[name] for name in option]
    except KeyError as error:
        raise ValueError(f"no filter option is called {error}") from None


def _is_cut(entry: Entry) -> bool:
    return any(len(cell) > LONGEST_CELL for cell in entry.cells) or any(
        len(text) > LONGEST for text in _detail_texts(entry.detail)
    )


def _detail_texts(detail: Sequence[Block]) -> Iterator[str]:
    for block in detail:
        yield block.text
        for item in block.items:
            yield from (item.text, item.more)


def _full_record(browser: Browser, entry: Entry) -> dict[str, Any]:
    """A line of the file beside the page."""
    return {
        "list": browser.title,
        **dict(zip(browser.columns, entry.cells, strict=True)),
        "detail": [
            {"heading": block.heading, "text": block.text, "items": [_item(item) for item in block.items]}
            for block in entry.detail
        ],
    }


def _item(item: Item) -> dict[str, str]:
    return {name: value for name, value in asdict(item).items() if value}


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=True, separators=(",", ":"))) + 1
