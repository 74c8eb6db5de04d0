"""Mutations of valid inputs: of bytes, and of the JSON values in them."""

import gzip
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    10**400,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "0",
    "1e999",
    "null",
    "\ud800",
    "a\udfffb",
    "\0",
    "\x1b]52;c;Zm9v\x07",
    "\x1b[2J",
    "\u202etxt",
    "\u2028",
    "\ufeff",
    "../../x",
    "/",
    "~",
    "a" * 5000,
    "\u0928\u093f",
    [],
    {},
    [[]],
    [None],
    [1, "a"],
    {"a": None},
    {"": 0},
    [0.1] * 50,
    "2020-01-01",
    "-----",
    "NaN",
    "[1, 2]",
    "['a', 'b']",
)
"""What stands in for a value of a field."""
PIECES = (
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"-",
    b"0x10",
    b"1_000",
    b"\\ud800",
    b"\\u0000",
    b"\\",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b";",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\x1b]52;c;x\x07",
    b"\x85",
    b"&a ",
    b"*a",
    b"&a [*a, *a]",
    b"<<: ",
    b"!!binary ",
    b"!!python/object/apply:os.getcwd []",
    b"---\n",
    b"? ",
    b"- ",
    b"~",
    b"%YAML 9.9\n",
    b"#",
    b"PAR1",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"../",
    b"a" * 3000,
    b"[" * 900,
    b'{"a":' * 900,
    b"  " * 300,
    b"\xf0\x9f\x91\xa9\xe2\x80\x8d",
)
"""What is put among the bytes."""


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """``seed`` after one to four mutations; half of the first ones are of a JSON value, if there is one."""
    data = seed
    for turn in range(1 + int(chance.expovariate(1.0)) % 4):
        changed = changed_json(data, chance) if turn == 0 and chance.random() < 0.5 else None
        data = changed if changed is not None else changed_bytes(data, chance)
    return data


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """One mutation of bytes."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 1, 2, 8, 64, len(data))))
    kind = chance.randrange(10)
    if kind == 0 and start < len(data):
        return data[:start] + bytes([data[start] ^ 1 << chance.randrange(8)]) + data[start + 1 :]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:end] + data[start:end] * chance.choice((1, 2, 50)) + data[end:]
    if kind == 3:
        return data[:start]
    if kind == 4:
        return data[:start] + chance.randbytes(chance.choice((1, 3, 16))) + data[end:]
    if kind == 5 and chance.random() < 0.2:
        return recoded(data, chance)
    piece = chance.choice(PIECES)
    return data[:start] + piece + data[end if kind < 8 else start :]


def recoded(data: bytes, chance: random.Random) -> bytes:
    """The same text in another form."""
    text = data.decode("utf-8", "replace")
    forms = ("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "cp1252")
    kind = chance.randrange(len(forms) + 3)
    if kind < len(forms):
        return text.encode(forms[kind], "replace")
    if kind == len(forms):
        packed = gzip.compress(data, 1)
        return packed[: chance.randrange(len(packed) + 1)] if chance.random() < 0.5 else packed
    return data.replace(b"\n", b"\r" if kind == len(forms) + 1 else b"\r\n")


def changed_json(data: bytes, chance: random.Random) -> bytes | None:
    """One mutation of a value in one of the JSON texts of ``data``: the whole of it, or one of its lines."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    for whole in (True, False):
        try:
            value = json.loads(data if whole else lines[at])
        except (ValueError, RecursionError):
            continue
        text = json.dumps(changed_value(value, chance), ensure_ascii=chance.random() < 0.7)
        new = text.encode("utf-8", "surrogatepass")
        return new if whole else b"\n".join([*lines[:at], new, *lines[at + 1 :]])
    return None


def changed_value(value: Any, chance: random.Random) -> Any:
    """A value with another one in it, one less, one more, or one under another name."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, kind = chance.choice(keys), chance.randrange(8)
    if isinstance(value, dict):
        copy: Any = dict(value)
        if kind == 0:
            del copy[key]
        elif kind == 1:
            copy[str(chance.choice(VALUES))] = copy.pop(key)
        else:
            copy[key] = changed_value(copy[key], chance)
        return copy
    copy = list(value)
    if kind == 0:
        del copy[key]
    elif kind == 1:
        copy.insert(key, copy[key])
    else:
        copy[key] = changed_value(copy[key], chance)
    return copy
