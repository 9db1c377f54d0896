"""What tests/benchmarks/diart.py found, as values, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from pyannote.core import Annotation, Segment
from rich.table import Table

from explorer.statistics.bootstrap import Interval, Scored, difference
from objectives.corpora.corpus import Recording
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts, pool
from tests.benchmarks.trial import errors_as_json, kinds, spread

ONLINE = "online"  # what the others are compared with


@dataclass(frozen=True)
class Heard:
    """What a system made of one recording. seconds: of wall. updates: windows run. turns: (start, end, speaker)."""

    seconds: float
    updates: int
    turns: tuple[tuple[float, float, str], ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Heard":
        """From the JSON of diart_peer.py."""
        turns = tuple((float(start), float(end), str(who)) for start, end, who in told["turns"])
        return cls(float(told["seconds"]), int(told["updates"]), turns)

    def annotation(self) -> Annotation:
        """As pyannote.core has it. Two turns of one span are two tracks."""
        annotation = Annotation()
        for track, (start, end, who) in enumerate(self.turns):
            annotation[Segment(start, end), track] = who
        return annotation


Pass = Mapping[str, Heard]  # by URI


@dataclass(frozen=True)
class Result:
    """A system's passes over all recordings, and its errors. counts: by URI."""

    name: str
    passes: Sequence[Pass]
    counts: Mapping[str, ErrorCounts]

    def rtf(self, audio: float) -> list[float]:
        """One a repeat."""
        return [sum(heard.seconds for heard in one.values()) / audio for one in self.passes]

    @property
    def updates(self) -> int:
        """Of one pass; 0 where none was timed."""
        return sum(heard.updates for heard in self.passes[0].values()) if self.passes else 0

    @property
    def scored(self) -> Scored:
        """For the bootstrap."""
        return {uri: (counts.seconds, counts.total) for uri, counts in self.counts.items()}


def passed(told: Mapping[str, Any], uris: Sequence[str]) -> Pass:
    """The peer's answer. Raises RuntimeError where it failed or left a recording out."""
    if "error" in told:
        raise RuntimeError(str(told["error"]))
    if sorted(told) != sorted(uris):
        raise RuntimeError(f"diart answered for {sorted(told)} and was asked for {sorted(uris)}")
    return {uri: Heard.of(told[uri]) for uri in uris}


def score_all(recordings: Sequence[Recording], one: Pass) -> dict[str, ErrorCounts]:
    """Errors by URI."""
    return {
        recording.uri: score(recording.reference, one[recording.uri].annotation(), recording.annotated)
        for recording in recordings
    }


def refuse_other_errors(name: str, counts: Mapping[str, ErrorCounts], others: Mapping[str, ErrorCounts]) -> None:
    """Raise RuntimeError where a repeat, or the other plane, has other errors: then one of them is wrong."""
    for uri, known in counts.items():
        if not np.allclose(list(asdict(known).values()), list(asdict(others[uri]).values()), atol=1e-6):
            raise RuntimeError(f"{name}, {uri}: {known} and {others[uri]} of the same system")


def interval_to(result: Result, online: Result | None) -> tuple[float, Interval | None] | None:
    """Points of DER by which online has more than another system, and their interval."""
    if online is None or result.name == ONLINE:
        return None
    apart = pool(online.counts.values()).der - pool(result.counts.values()).der
    return apart, difference(online.scored, result.scored)


def ratios(result: Result, online: Result | None, audio: float) -> list[float]:
    """How many times online's RTF a system's is, repeat by repeat."""
    if online is None or result.name == ONLINE:
        return []
    return [own / base for own, base in zip(result.rtf(audio), online.rtf(audio), strict=True)]


def table_of(results: Sequence[Result], audio: float, title: str) -> Table:
    """For people."""
    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column("system", no_wrap=True)
    for name in (
        "RTF (min–max)",
        "x online (min–max)",
        "updates",
        "DER %",
        "FA / miss / confusion",
        "online – it [95 %]",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    online = next((result for result in results if result.name == ONLINE), None)
    for result in results:
        rtf, ratio, errors = result.rtf(audio), ratios(result, online, audio), pool(result.counts.values())
        table.add_row(
            result.name,
            spread(rtf, 4) if rtf else "–",
            spread(ratio, 2) if ratio else "–",
            str(result.updates or "–"),
            f"{errors.der:.2f}",
            kinds(errors),
            interval_in_words(interval_to(result, online)),
        )
    return table


def interval_in_words(apart: tuple[float, Interval | None] | None) -> str:
    """`-5.20 [-9.10, -1.30]`; `tied` where the interval contains zero."""
    if apart is None:
        return "–"
    points, interval = apart
    if interval is None:
        return f"{points:+.2f}"
    tied = ", tied" if interval.contains_zero else ""
    return f"{points:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]{tied}"


def as_json(result: Result, online: Result | None, audio: float) -> dict[str, Any]:
    """Everything that the table shows, every repeat and every recording."""
    rtf, ratio, apart = result.rtf(audio), ratios(result, online, audio), interval_to(result, online)
    return {
        "name": result.name,
        "rtf": {"median": median(rtf), "repeats": rtf} if rtf else None,
        "times_online": {"median": median(ratio), "repeats": ratio} if ratio else None,
        "updates": result.updates or None,
        **errors_as_json(pool(result.counts.values())),
        "online_minus_it": apart and {"points": apart[0], "interval": apart[1] and asdict(apart[1])},
        "recordings": {uri: asdict(counts) for uri, counts in result.counts.items()},
    }
