"""Read RTTM and UEM files strictly: a malformed line is an error with its number, and is never dropped.

RTTM has one turn per line: `SPEAKER uri channel start duration <NA> <NA> speaker <NA> <NA>`, 9 or 10 fields, times in
seconds. The other NIST types, blank lines and `;;` comments are skipped. A URI of `<NA>`, which SIMSAMU uses, stands
for the name of the file. UEM has one part per line: `uri channel start end`.

Channels follow NIST: the same name on two channels means two people, and a part is annotated on its channel only. The
audio is the mean of the channels, so only the parts that all channels of a UEM have in common count as annotated.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pyannote.core import Annotation, Segment, Timeline

from objectives.errors import CorpusError, quoted, shortened

NOT_AVAILABLE = "<NA>"
ANY_CHANNEL = frozenset({"na", "<na>"})  # of a UEM
T = TypeVar("T")

# types of the NIST Rich Transcription evaluation plan that do not mark speaker turns
SKIPPED_TYPES = frozenset(
    {
        *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"),
        *("FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"),
    }
)

# stricter than float(): no "nan", "inf", "1_000" or digits of other scripts
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Written(Generic[T]):
    """The content of a file for one recording.

    channels: the channels that it names, in lower case; empty if it names no particular one. remarks: what is
    interpreted differently from what is written, in words."""

    content: T
    channels: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def read_rttm(path: Path) -> dict[str, Written[Annotation]]:
    """Return the reference by URI; {} for a file without turns. Raises CorpusError naming the file and the line."""
    return parse_rttm(_read_text(path), path)


def read_uem(path: Path) -> dict[str, Written[Timeline]]:
    """Return the annotated parts by URI, merged if they touch. Raises CorpusError naming the file and the line."""
    return parse_uem(_read_text(path), path)


def parse_rttm(text: str, path: Path) -> dict[str, Written[Annotation]]:
    """Parse text as `read_rttm` does. path: named in messages; its stem replaces a URI of `<NA>`."""
    turns: dict[str, list[_Turn]] = defaultdict(list)
    for number, fields in _lines(text):
        where = f"{path}, line {number}"
        if fields[0] in SKIPPED_TYPES:
            continue
        if fields[0] != "SPEAKER":
            raise CorpusError(
                f"{where}: unknown RTTM type {quoted(fields[0])}: write SPEAKER before a turn, ;; before a comment"
            )
        if len(fields) not in (9, 10):
            raise CorpusError(
                f"{where}: {len(fields)} fields instead of 9 or 10: write "
                "SPEAKER uri channel start duration <NA> <NA> speaker <NA> <NA>, and _ for a space within a name"
            )
        start = _seconds(where, "start", fields[3])
        duration = _seconds(where, "duration", fields[4])
        segment = Segment(start, start + duration)
        if not segment or segment.end == float("inf"):  # pyannote.core drops segments of less than 1 µs
            start_text, length_text = shortened(fields[3]), shortened(fields[4])
            raise CorpusError(
                f"{where}: a turn of {length_text} s at {start_text} s has no length: correct or remove it"
            )
        if fields[7] == NOT_AVAILABLE:
            raise CorpusError(f"{where}: the turn has no speaker name (field 8 is {NOT_AVAILABLE}): name the speaker")
        uri = path.stem if fields[1] == NOT_AVAILABLE else fields[1]
        turns[uri].append(_Turn(number, segment, fields[2].lower(), fields[7]))
    return {uri: _reference(uri, spoken) for uri, spoken in turns.items()}


@dataclass(frozen=True)
class _Turn:
    line: int
    segment: Segment
    channel: str
    speaker: str


def _reference(uri: str, turns: Sequence[_Turn]) -> Written[Annotation]:
    channels: dict[str, set[str]] = defaultdict(set)
    for turn in turns:
        channels[turn.speaker].add(turn.channel)
    several = {speaker: sorted(found) for speaker, found in channels.items() if len(found) > 1}
    reference = Annotation(uri=uri)
    for turn in turns:
        # no field contains a space, so this name is unique
        name = f"{turn.speaker} (channel {turn.channel})" if turn.speaker in several else turn.speaker
        reference[turn.segment, turn.line] = name
    remarks = [
        f"{quoted(speaker)[1:-1]} speaks on channels {_listed(found)} of the RTTM and counts as {len(found)} people: "
        "write one channel if it is one person"
        for speaker, found in several.items()
    ]
    return Written(reference, frozenset().union(*channels.values()), tuple(remarks))


def parse_uem(text: str, path: Path) -> dict[str, Written[Timeline]]:
    """Parse text as `read_uem` does. path: named in messages; its stem replaces a URI of `<NA>`."""
    parts: dict[str, dict[str, list[Segment]]] = defaultdict(lambda: defaultdict(list))
    for number, fields in _lines(text):
        where = f"{path}, line {number}"
        if len(fields) != 4:
            raise CorpusError(f"{where}: {len(fields)} fields instead of 4: write uri channel start end")
        segment = Segment(_seconds(where, "start", fields[2]), _seconds(where, "end", fields[3]))
        if not segment or segment.end == float("inf"):
            start_text, end_text = shortened(fields[2]), shortened(fields[3])
            raise CorpusError(
                f"{where}: the part from {start_text} s to {end_text} s has no length: correct or remove it"
            )
        uri = path.stem if fields[0] == NOT_AVAILABLE else fields[0]
        parts[uri][fields[1].lower()].append(segment)
    return {uri: _annotated(uri, by_channel) for uri, by_channel in parts.items()}


def _annotated(uri: str, parts: Mapping[str, list[Segment]]) -> Written[Timeline]:
    everywhere = [segment for channel in ANY_CHANNEL for segment in parts.get(channel, ())]
    named = sorted(set(parts) - ANY_CHANNEL)
    each = [Timeline([*parts[channel], *everywhere], uri=uri).support() for channel in named]
    common = each[0] if each else Timeline(everywhere, uri=uri).support()
    for other in each[1:]:
        common = common.crop(other, mode="intersection").support()
    remarks: tuple[str, ...] = ()
    if any(other != common for other in each):
        remarks = (f"channels {_listed(named)} of the UEM have other parts: only what they have in common is scored",)
    return Written(common, frozenset(named), remarks)


def uncovered_channels(reference: Written[Annotation], annotated: Written[Timeline]) -> tuple[str, ...]:
    """Return a remark if the UEM names some of the RTTM's channels, but not all of them."""
    known = reference.channels & annotated.channels
    others = reference.channels - annotated.channels
    if not known or not others:
        return ()
    return (
        f"the RTTM has turns on channels {_listed(reference.channels)} and the UEM parts of {_listed(known)} only: "
        "they are taken for all of them",
    )


def _listed(channels: Iterable[str]) -> str:
    *first, last = (quoted(channel)[1:-1] for channel in sorted(channels))
    return f"{', '.join(first)} and {last}" if first else last


def is_blank(path: Path) -> bool:
    """Return whether a file holds only white space. Raises CorpusError if it cannot be read."""
    return not _read_text(path).strip()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8 text") from error


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    # split on "\n" only: splitlines() would also break, and miscount, at form feeds and Unicode separators
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if fields and not fields[0].startswith(";;"):
            yield number, fields


def _seconds(where: str, name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise CorpusError(f"{where}: {name} {quoted(text)} is not a number of seconds: write it as 12.345")
    value = float(text)
    if value < 0:
        raise CorpusError(f"{where}: {name} {shortened(text)} s is negative: give times from the start of the audio")
    return value
