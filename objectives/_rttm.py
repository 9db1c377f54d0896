"""RTTM and UEM files, read strictly: a line that is not understood is an error with its number, never dropped.

RTTM, one turn a line: `SPEAKER uri channel start duration <NA> <NA> speaker <NA> <NA>`, 9 or 10 fields, times in
seconds. The other NIST types, blank lines and `;;` comments are skipped. A uri of `<NA>` (as SIMSAMU writes it) stands
for the name of the file. UEM, one part a line: `uri channel start end`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pyannote.core import Annotation, Segment, Timeline

from objectives.errors import CorpusError, quoted, shortened

NOT_AVAILABLE = "<NA>"

# types of the NIST Rich Transcription evaluation plan that say nothing of who speaks when
SKIPPED_TYPES = frozenset(
    {
        *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"),
        *("FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"),
    }
)

# narrower than float(): no "nan", "inf", "1_000" or digits of other scripts
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_rttm(path: Path) -> dict[str, Annotation]:
    """Reference by URI. Raises CorpusError naming the file and the line; a file without turns gives {}."""
    return parse_rttm(_read_text(path), path)


def read_uem(path: Path) -> dict[str, Timeline]:
    """Annotated parts by URI, merged where they touch. Raises CorpusError naming the file and the line."""
    return parse_uem(_read_text(path), path)


def parse_rttm(text: str, path: Path) -> dict[str, Annotation]:
    """As `read_rttm`, of text; `path` names it in messages and stands in for a URI of `<NA>`."""
    references: dict[str, Annotation] = {}
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
        reference = references.setdefault(uri, Annotation(uri=uri))
        reference[segment, number] = fields[7]
    return references


def parse_uem(text: str, path: Path) -> dict[str, Timeline]:
    """As `read_uem`, of text; `path` names it in messages and stands in for a URI of `<NA>`."""
    parts: dict[str, list[Segment]] = {}
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
        parts.setdefault(uri, []).append(segment)
    return {uri: Timeline(segments, uri=uri).support() for uri, segments in parts.items()}


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
