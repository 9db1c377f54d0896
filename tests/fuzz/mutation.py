"""Files that are nearly right: a valid one with a few things changed, drawn from a generator of random numbers."""

import copy
import json
import random
import re
from typing import Any

# what people and broken programs write where something else should stand
TOKENS = (
    "", " ", "nan", "NaN", "inf", "-inf", "1e308", "1e309", "-0", "-1", "0", "0.0", "1e-320", "9" * 30, "9" * 5000,
    "0x10", "1_000", "1,5", "٣", "true", "null", "None", "<NA>", ";;", "#", '"', "'", "[", "]", "{", "}", "[[", "\\",
    "\x00", "\x0c", "\u2028", "\ufeff", "é", "e\u0301", "💥", "\u202eabc", "../../etc/passwd", "/", "a b", "%s%n",
    "{uri}", "{", "$(id)", "<b>", "[red]", "\x1b[31m", "A" * 10_000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.5, -0.0, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", "a", "0", "nan", "\x00", "\ud800", "é", "💥", "../x", "A" * 5000,
    [], {}, [None], [[]], [0] * 1000, {"": None}, {"a": {"b": {}}}, ["a", "a"],
)  # fmt: skip
DEPTH = 3000  # of nesting, beyond what recursive readers stand
_FIELD = re.compile(rb"\S+")


def mutated(valid: bytes, draw: random.Random) -> bytes:
    """A text file with one to four things changed: bytes, lines, fields or its encoding."""
    changed = valid
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        changed = draw.choice(_TEXT)(changed, draw)
    return changed


def damaged(valid: bytes, draw: random.Random, head: int = 512) -> bytes:
    """A binary file with one to six things changed, most of them within its first `head` bytes."""
    changed = valid
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        reach = min(len(changed), head) if draw.random() < 0.7 else len(changed)
        changed = draw.choice(_BINARY)(changed, draw, max(reach, 1))
    return changed


def mutated_tree(valid: Any, draw: random.Random) -> Any:
    """Plain data as of JSON with one to three of its parts replaced, taken away, added to or swapped."""
    tree = copy.deepcopy(valid)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return tree
        holder, key = draw.choice(places)
        kind = draw.randrange(8)
        if kind <= 3:
            holder[key] = copy.deepcopy(draw.choice(VALUES))
        elif kind == 4:
            del holder[key]
        elif kind == 5:
            other_holder, other = draw.choice(places)
            holder[key], other_holder[other] = copy.deepcopy(other_holder[other]), copy.deepcopy(holder[key])
        elif kind == 6 and isinstance(holder, dict):
            holder[draw.choice(TOKENS)[:50]] = holder.pop(key)
        else:
            holder[key] = [holder[key]] if draw.random() < 0.5 else _scaled(holder[key], draw)
    return tree


def mutated_json(valid: Any, draw: random.Random) -> bytes:
    """JSON text of a changed tree; now and then the text is changed besides, or nested beyond reason."""
    kind = draw.random()
    if kind < 0.03:
        return draw.choice((b"[" * DEPTH, b"[" * DEPTH * 30, b'{"a":' * DEPTH + b"1" + b"}" * DEPTH))
    if kind < 0.6:
        return json.dumps(mutated_tree(valid, draw)).encode("utf-8", "surrogatepass")
    text = json.dumps(mutated_tree(valid, draw) if kind < 0.7 else valid, indent=1, ensure_ascii=False)
    return mutated(text.encode("utf-8", "surrogatepass"), draw)


def _scaled(value: Any, draw: random.Random) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return draw.choice((-value, value * 1000, value * 0.9 if abs(value) < 1e300 else 0, value + 1, str(value)))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += [(tree, key), *_places(value)]
    return found


def _token(draw: random.Random) -> bytes:
    return draw.choice(TOKENS).encode()


def _spot(data: bytes, draw: random.Random, reach: int | None = None) -> int:
    return draw.randrange((len(data) if reach is None else reach) + 1)


def _insert(data: bytes, draw: random.Random) -> bytes:
    spot = _spot(data, draw)
    return data[:spot] + _token(draw) + data[spot:]


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    spot = _spot(data, draw)
    return data[:spot] + _token(draw) + data[spot + draw.randrange(1, 9) :]


def _byte(data: bytes, draw: random.Random) -> bytes:
    spot = _spot(data, draw)
    return data[:spot] + bytes([draw.randrange(256)]) + data[spot + 1 :]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: _spot(data, draw)]


def _lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    here, there = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(4)
    if kind == 0:
        lines.insert(there, lines[here])
    elif kind == 1:
        del lines[here]
    elif kind == 2:
        lines[here], lines[there] = lines[there], lines[here]
    else:
        lines[here] += lines[there]
    return b"\n".join(lines)


def _fields(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    here = draw.randrange(len(lines))
    spans = [match.span() for match in _FIELD.finditer(lines[here])]
    if not spans:
        return data
    start, end = draw.choice(spans)
    other_start, other_end = draw.choice(spans)
    new = lines[here][other_start:other_end] if draw.random() < 0.3 else _token(draw)
    lines[here] = lines[here][:start] + new + lines[here][end:]
    return b"\n".join(lines)


def _recoded(data: bytes, draw: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    kind = draw.randrange(8)
    if kind == 0:
        return b"\xef\xbb\xbf" + data
    if kind == 1:
        return data.replace(b"\n", b"\r\n")
    if kind == 2:
        return data.replace(b"\n", b"\r")
    if kind == 3:
        return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")))
    if kind == 4:
        return (text + "é").encode("latin-1", "replace")
    if kind == 5:
        return data.replace(b" ", "\u00a0".encode())
    if kind == 6:
        return data * draw.choice((2, 50))
    return draw.choice((b"", b"\n", b"\x00" * 100, b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b\x08", b"<html>"))


def _flip(data: bytes, draw: random.Random, reach: int) -> bytes:
    spot = draw.randrange(reach)
    changed = bytearray(data)
    for here in range(spot, min(spot + draw.choice((1, 1, 1, 4)), len(changed))):
        changed[here] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _number(data: bytes, draw: random.Random, reach: int) -> bytes:
    """A whole number of 2, 4 or 8 bytes, as headers have them."""
    size, order = draw.choice((2, 4, 4, 8)), draw.choice(("little", "big"))
    most = 256**size - 1
    number = draw.choice((0, 1, most, most // 2, most // 2 + 1, len(data), len(data) * 1000, draw.randrange(most)))
    spot = draw.randrange(reach)
    return data[:spot] + min(number, most).to_bytes(size, order) + data[spot + size :]


def _stretch(data: bytes, draw: random.Random, reach: int) -> bytes:
    spot, length = draw.randrange(reach), draw.choice((1, 2, 8, 64, 4096))
    kind = draw.randrange(4)
    if kind == 0:
        return data[:spot] + data[spot + length :]
    if kind == 1:
        return data[:spot] + data[spot : spot + length] * 2 + data[spot + length :]
    if kind == 2:
        return data[:spot] + draw.randbytes(length) + data[spot + length :]
    return data[:spot] + b"\x00" * length + data[spot + length :]


def _shorter(data: bytes, draw: random.Random, reach: int) -> bytes:
    return data[: draw.randrange(reach)]


_TEXT = (_insert, _overwrite, _byte, _cut, _lines, _lines, _fields, _fields, _fields, _recoded)
_BINARY = (_flip, _flip, _flip, _number, _number, _number, _stretch, _shorter)
