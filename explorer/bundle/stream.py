"""Run a bundle on audio as it arrives: report turns as they become known, and what it took. Needs no torch."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from explorer.bundle.bundle import Bundle
from objectives.errors import BundleError, CorpusError
from objectives.models.contract import SAMPLE_RATE
from objectives.streaming.clustering import UNNAMED
from objectives.streaming.hypothesis import Turn
from objectives.streaming.loop import LiveLoop
from objectives.streaming.schedule import ENDLESS, Schedule


@dataclass(frozen=True)
class Spoken:
    """A turn. start, end: seconds. speaker: None if not known yet. known_at: seconds of audio heard by then."""

    start: float
    end: float
    speaker: int | None
    known_at: float

    @property
    def name(self) -> str:
        """The speaker's name, such as `speaker00`; `unknown` if the speaker is not known yet."""
        return "unknown" if self.speaker is None else f"speaker{self.speaker:02d}"


@dataclass(frozen=True)
class Diarization:
    """The result of diarizing a recording.

    audio: its duration in seconds. turns: the final turns, in the order of time. speakers: number of speakers. compute:
    seconds of compute in total. clustering: the part of it that the clustering at the end took. updates: seconds of
    compute for each update. delays: for each update before the audio ended, seconds from the time when the first sample
    of its block was spoken to the block's emission; empty if the audio did not arrive at the speed of speech.
    """

    audio: float
    turns: tuple[Spoken, ...]
    compute: float
    clustering: float
    updates: tuple[float, ...]
    delays: tuple[float, ...]

    @property
    def rtf(self) -> float:
        """Seconds of compute per second of audio."""
        return self.compute / self.audio

    @property
    def speakers(self) -> int:
        """Number of speakers."""
        return len({turn.speaker for turn in self.turns})


class Listener:
    """Runs a bundle on audio that arrives in pieces of any length.

    on_turn: called with each turn as soon as it has ended, with a provisional name. threads: of the CPU.
    speakers: the fewest and the most, instead of the bundle's.
    Raises BundleError if the bundle cannot stream.
    """

    def __init__(
        self,
        bundle: Bundle,
        on_turn: Callable[[Spoken], None],
        threads: int = 1,
        speakers: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        point = bundle.point
        if point.mode == "offline":
            raise BundleError(
                f"{bundle.folder}: an offline operating point hears whole recordings and has no C and R to stream at: "
                "export a trial of a chunk-wise study, or load it in stock pyannote.audio as its README.md says"
            )
        self._schedule = Schedule(ENDLESS, point.chunk_length, point.right_context)
        clustering = bundle.clustering if speakers is None else replace(bundle.clustering, speakers=speakers)
        self._loop = LiveLoop(
            self._schedule, bundle.runtime(threads), bundle.embedding(threads), clustering, online=point.tracking
        )
        self._names = self._loop.session.live_names()
        self._on_turn = on_turn
        self._clock = clock
        self._waiting = np.zeros(0, np.float32)
        self._heard = 0
        self._next = 1
        self._updates: list[float] = []
        self._delays: list[float] = []

    @property
    def has_heard(self) -> bool:
        """Whether any audio has arrived."""
        return self._heard + len(self._waiting) > 0

    def hear(self, samples: np.ndarray, began: float | None = None) -> None:
        """Process more audio: (samples,) float32, mono, 16 kHz. began: the clock when the recording began, if live."""
        self._waiting = np.concatenate([self._waiting, samples])
        while self._news() <= len(self._waiting):
            self._update()
            if began is not None:
                block, _ = self._schedule.block(self._next - 1)
                self._delays.append(self._clock() - began - block / SAMPLE_RATE)

    def end(self) -> Diarization:
        """Process the end of the audio, and return the result. Raises CorpusError if there was no audio."""
        total = self._heard + len(self._waiting)
        if total == 0:
            raise CorpusError("there is no audio (0 samples): check what is written to standard input, and its format")
        self._schedule = self._loop.end(total)
        for _ in range(self._next, len(self._schedule) + 1):
            self._update()
        if not self._names.final_at_once:  # these turns are known already and need not wait for the clustering
            self._tell(self._names.end(total))
        began = self._clock()
        hypothesis = self._loop.finish()
        clustering = self._clock() - began
        if self._names.final_at_once:  # the online mode names its last turns as it finishes
            self._tell(self._names.end(total))
        named = [(start, end, self._names.final(self._loop.centroids, who)) for start, end, who in hypothesis.turns]
        return Diarization(
            audio=total / SAMPLE_RATE,
            turns=tuple(_spoken(turn, total) for turn in named),
            compute=sum(self._updates) + clustering,
            clustering=clustering,
            updates=tuple(self._updates),
            delays=tuple(self._delays),
        )

    def _news(self) -> int:
        start, end = self._schedule.news(self._next)
        return end - start

    def _update(self) -> None:
        began = self._clock()
        samples, self._waiting = np.split(self._waiting, [self._news()])
        self._heard += len(samples)
        self._loop.update(self._next, samples)
        self._next += 1
        ended = self._names.turns(self._loop.features)
        self._updates.append(self._clock() - began)
        self._tell(ended)

    def _tell(self, turns: Iterable[Turn]) -> None:
        for turn in sorted(turns):
            self._on_turn(_spoken(turn, self._heard))


def _spoken(turn: Turn, heard: int) -> Spoken:
    start, end, speaker = turn
    name = None if speaker == UNNAMED else speaker
    return Spoken(start / SAMPLE_RATE, end / SAMPLE_RATE, name, heard / SAMPLE_RATE)


def rttm(turns: Iterable[Spoken], uri: str) -> str:
    """Return turns as RTTM, rounded to milliseconds. Turns of 0 ms are left out, since RTTM does not allow them.

    The fields of RTTM are separated by spaces, so spaces in `uri` become underscores.
    """
    named = "_".join(uri.split()) or "recording"
    lines = []
    for turn in turns:
        start, end = round(1000 * turn.start), round(1000 * turn.end)
        if end > start:
            times = f"{start / 1000:.3f} {(end - start) / 1000:.3f}"
            lines.append(f"SPEAKER {named} 1 {times} <NA> <NA> {turn.name} <NA> <NA>\n")
    return "".join(lines)
