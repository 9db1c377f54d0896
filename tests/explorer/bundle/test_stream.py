"""A Listener hears pieces of any lengths, and says what the whole recording says."""

import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from explorer.bundle.audio_input import PIECE, pcm_pieces, played
from explorer.bundle.stream import Diarization, Listener, Spoken, rttm
from objectives.corpora.rttm import parse_rttm
from objectives.errors import BundleError, CorpusError
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding
from objectives.operating_point import CHUNK_LENGTH_RANGE, RIGHT_CONTEXT_RANGE, OnlineTracking, OperatingPoint
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import stream_live
from tests.support.sign_models import CLUSTERING, TRACKING, SignRuntime, sign_embedding, speech

Span = tuple[int, int]  # samples


@dataclass
class SignBundle:
    """A bundle whose models can be read."""

    point: OperatingPoint
    clustering: ClusteringSettings = CLUSTERING
    folder: Path = Path("signs")

    def runtime(self, threads: int) -> SignRuntime:
        return SignRuntime()

    def embedding(self, threads: int) -> SpeakerEmbedding:
        return sign_embedding()


def listener(point: OperatingPoint, on_turn: list[Spoken]) -> Listener:
    return Listener(SignBundle(point), on_turn.append)


def listen(point: OperatingPoint, pieces: Iterable[np.ndarray]) -> tuple[list[Spoken], Diarization]:
    """Provisional turns, and the account."""
    provisional: list[Spoken] = []
    listening = listener(point, provisional)
    for piece in pieces:
        listening.hear(piece)
    return provisional, listening.end()


def spans(turns: Iterable[Spoken]) -> dict[str, list[Span]]:
    """Where each speaks, in samples."""
    found: dict[str, list[Span]] = {}
    for turn in turns:
        found.setdefault(turn.name, []).append((round(turn.start * SAMPLE_RATE), round(turn.end * SAMPLE_RATE)))
    return found


def together(found: Iterable[Span]) -> list[Span]:
    """Union of spans."""
    merged: list[Span] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def covered(turns: Iterable[Spoken]) -> list[Span]:
    return together(itertools.chain.from_iterable(spans(turns).values()))


def expected(waveform: np.ndarray, point: OperatingPoint) -> list[list[Span]]:
    """Spans of each speaker of the real loop on the whole recording."""
    turns = stream_live(waveform, point, SignRuntime(), sign_embedding(), CLUSTERING).turns
    by: dict[int, list[Span]] = {}
    for start, end, who in turns:
        by.setdefault(who, []).append((start, end))
    return sorted(by.values())


points = st.builds(
    OperatingPoint, st.floats(0.2, CHUNK_LENGTH_RANGE[1]), st.just(0.0) | st.floats(*RIGHT_CONTEXT_RANGE)
)
recordings = st.lists(st.tuples(st.sampled_from([1.0, -1.0, 0.0]), st.floats(0.001, 4.0)), min_size=1, max_size=8).map(
    lambda parts: speech(*parts)
)


@settings(max_examples=40, deadline=None)
@given(waveform=recordings, point=points, cuts=st.lists(st.floats(0.0, 1.0), max_size=12))
def test_pieces_of_any_lengths_give_the_turns_of_the_whole(
    waveform: np.ndarray, point: OperatingPoint, cuts: list[float]
) -> None:
    # twice the same cut is a piece without samples
    edges = [0, *sorted(round(cut * len(waveform)) for cut in cuts), len(waveform)]
    provisional, account = listen(point, (waveform[start:end] for start, end in itertools.pairwise(edges)))
    assert sorted(spans(account.turns).values()) == expected(waveform, point)
    assert account.audio == len(waveform) / SAMPLE_RATE
    assert account.speakers == len(spans(account.turns))
    # what was printed is all that was emitted, and nothing else
    assert covered(provisional) == covered(account.turns)
    assert all(turn.end <= turn.known_at <= account.audio for turn in provisional)
    # final for whoever has a name: a speaker has one turn at a time
    for mine in spans(account.turns).values():
        assert together(mine) == sorted(mine)


@pytest.mark.parametrize("point", [OperatingPoint(0.5, 0.0), OperatingPoint(1.3, 0.7), OperatingPoint(5.0, 5.0)])
def test_a_turn_is_told_by_the_update_that_emits_its_end(point: OperatingPoint) -> None:
    """C + R after its last word at the latest."""
    waveform = speech((1, 1.1), (0, 2.5), (-1, 2.2), (0, 3.1), (1, 4.2), (0, 7.0))
    provisional, account = listen(point, np.array_split(waveform, 50))
    assert len(provisional) >= 3
    late = [turn.known_at - turn.end for turn in provisional]
    assert max(late) <= point.latency + 1e-9
    ends = [turn.known_at for turn in provisional]
    assert ends == sorted(ends)
    assert len(account.updates) == int(np.ceil(20.1 / point.chunk_length))


def test_the_last_turn_does_not_wait_for_the_final_clustering() -> None:
    happened: list[str] = []

    def clock() -> float:
        happened.append("clock")
        return 0.0

    listening = Listener(SignBundle(OperatingPoint(1.0)), lambda turn: happened.append("turn"), clock=clock)
    listening.hear(speech((1, 3.0)))  # who speaks to the end
    listening.end()
    # before and after the clustering the clock is read, and nothing comes between or later
    assert happened[-3:] == ["turn", "clock", "clock"]


@pytest.mark.parametrize("samples", [1, 2, 399, 4_000, 15_999, 16_000, 16_001, 24_001])
@pytest.mark.parametrize("who", [0.0, 1.0])
@pytest.mark.parametrize("point", [OperatingPoint(1.0, 0.0), OperatingPoint(1.0, 0.5), OperatingPoint(0.25, 2.0)])
def test_a_recording_shorter_than_what_is_waited_for(point: OperatingPoint, who: float, samples: int) -> None:
    waveform = np.full(samples, who, np.float32)
    provisional, account = listen(point, [waveform])
    assert sorted(spans(account.turns).values()) == expected(waveform, point)
    assert covered(provisional) == covered(account.turns)
    assert account.audio == samples / SAMPLE_RATE
    assert len(account.updates) == max(1, int(np.ceil(samples / SAMPLE_RATE / point.chunk_length)))
    if samples > 600:  # two frames
        assert bool(account.turns) == bool(who)


def test_no_audio_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no audio"):
        listen(OperatingPoint(), [np.zeros(0, np.float32)])


def test_an_offline_point_is_refused_with_the_remedy() -> None:
    with pytest.raises(BundleError, match=r"offline.*export a trial of a chunk-wise study.*README\.md"):
        listener(OperatingPoint(mode="offline"), [])


def test_names_of_two_who_alternate_do_not_flip() -> None:
    """Four minutes: whoever has a name keeps it, and the last word says the same."""
    waveform = speech(*[part for _ in range(24) for part in ((1, 4.1), (0, 1.2), (-1, 3.6), (0, 1.3))])
    provisional, account = listen(OperatingPoint(0.5, 0.25), [waveform])
    people: dict[str, set[float]] = {}
    for turn in [*provisional, *account.turns]:
        if turn.start > 12.0 and turn.end - turn.start > 0.1:  # shorter ones are what frames round off
            people.setdefault(turn.name, set()).add(float(waveform[round((turn.start + 0.05) * SAMPLE_RATE)]))
    assert people in ({"speaker00": {1.0}, "speaker01": {-1.0}}, {"speaker00": {-1.0}, "speaker01": {1.0}})


def test_an_hour_is_heard_in_the_memory_of_a_minute() -> None:
    listening = listener(OperatingPoint(5.0, 0.0), [])
    loop = listening._loop

    def kept() -> int:
        return loop._audio._rows.nbytes + loop.features._rows.nbytes + listening._waiting.nbytes

    minute = np.zeros(60 * SAMPLE_RATE, np.float32)
    listening.hear(minute)
    before = kept()
    for _ in range(59):
        listening.hear(minute)
    assert kept() == before
    account = listening.end()
    assert (account.audio, account.turns) == (3600.0, ())


@pytest.mark.parametrize("online", [None, OnlineTracking(), TRACKING], ids=["chunk-wise", "online", "thresholds"])
@pytest.mark.parametrize(("known", "given", "found"), [(None, None, 2), (1, None, 1), (1, 2, 2), (None, 1, 1)])
def test_there_are_as_many_speakers_as_the_bundle_says_unless_one_says_otherwise(
    online: OnlineTracking | None, known: int | None, given: int | None, found: int
) -> None:
    point = OperatingPoint(1.0, 0.5) if online is None else OperatingPoint(1.0, 0.5, mode="online", online=online)
    bundle = SignBundle(point, ClusteringSettings(speakers=known and (known, known)))
    listening = Listener(bundle, lambda turn: None, speakers=given and (given, given))
    listening.hear(speech((1, 4.0), (-1, 5.0), (1, 3.0)))
    assert listening.end().speakers == found


def test_a_delay_is_counted_from_the_first_sample_spoken() -> None:
    now = itertools.count(100.0, 0.0)  # a clock that stands still: only what is told of it counts
    listening = Listener(SignBundle(OperatingPoint(1.0, 0.5)), lambda turn: None, clock=lambda: next(now))
    listening.hear(np.zeros(round(2.6 * SAMPLE_RATE), np.float32), began=97.0)
    account = listening.end()
    # 3 s after the beginning, blocks 1 and 2 begin at 0 and 1 s; the third is emitted when the audio has ended
    assert account.delays == (3.0, 2.0)
    assert len(account.updates) == 3


def test_an_account_counts_every_update_and_the_clustering_at_the_end() -> None:
    """By a clock of which every reading is a second later: each update takes one, and so does the clustering."""
    ticks = itertools.count()
    listening = Listener(SignBundle(OperatingPoint(1.0, 0.5)), lambda turn: None, clock=lambda: float(next(ticks)))
    listening.hear(speech((1, 3.0), (-1, 2.0), (1, 3.0)))
    account = listening.end()
    assert account.audio == 8.0
    assert account.updates == (1.0,) * 8
    assert (account.clustering, account.compute, account.rtf) == (1.0, 9.0, 1.125)
    assert (len(account.turns), account.speakers) == (3, 2)


class Clock:
    """Time that passes while one sleeps, and as much as one says."""

    def __init__(self) -> None:
        self.now = 50.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_recording_is_played_at_the_speed_of_speech() -> None:
    clock, waveform = Clock(), np.arange(4 * PIECE + 160, dtype=np.float32)
    heard = []
    for number, piece in enumerate(played([waveform], 50.0, clock, clock.sleep)):
        heard.append(piece)
        if number == 1:
            clock.now += 0.15  # an update that took its time: the next piece has been spoken meanwhile
    np.testing.assert_array_equal(np.concatenate(heard), waveform)
    assert clock.slept == pytest.approx([0.1, 0.1, 0.0, 0.05, 0.01])
    assert clock.now == pytest.approx(50.41)


# --- RTTM


def turn(start: float, end: float, speaker: int | None = 0) -> Spoken:
    return Spoken(start, end, speaker, end)


def test_rttm_is_in_whole_milliseconds() -> None:
    lines = rttm([turn(0.0004, 1.0006), turn(2.0, 2.0004), turn(3.0, 3.001, None)], "a call\t1").splitlines()
    assert lines == [
        "SPEAKER a_call_1 1 0.000 1.001 <NA> <NA> speaker00 <NA> <NA>",
        # the second has no length in milliseconds, which no reader of RTTM takes
        "SPEAKER a_call_1 1 3.000 0.001 <NA> <NA> unknown <NA> <NA>",
    ]
    assert rttm([], "x") == ""


ends = st.lists(st.integers(0, 10 * SAMPLE_RATE), min_size=2, max_size=20, unique=True).map(sorted)


@given(ends=ends, speakers=st.lists(st.integers(0, 12), min_size=20, max_size=20))
def test_rttm_is_read_again(ends: list[int], speakers: list[int]) -> None:
    told = [
        turn(start / SAMPLE_RATE, end / SAMPLE_RATE, who)
        for (start, end), who in zip(itertools.pairwise(ends), speakers, strict=False)
    ]
    read = parse_rttm(rttm(told, "call"), Path("call.rttm"))
    found = (
        [(segment.start, segment.end, name) for segment, _, name in read["call"].content.itertracks(yield_label=True)]
        if read
        else []
    )
    long = [one for one in told if round(1000 * one.end) > round(1000 * one.start)]
    assert len(found) == len(long)
    for (start, end, name), one in zip(sorted(found), long, strict=True):
        assert (start, end) == pytest.approx((one.start, one.end), abs=0.00051)
        assert name == one.name
    # neighbours touch and do not overlap
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(sorted(found)))


# --- raw PCM


class Trickle(io.BytesIO):
    """A pipe in which bytes arrive in portions."""

    def __init__(self, content: bytes, portions: list[int]):
        super().__init__(content)
        self._portions = iter(portions)

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(size or 1, next(self._portions, size or 1)))


portions = st.lists(st.integers(1, 4000), max_size=40)


@given(samples=st.lists(st.integers(-(2**15), 2**15 - 1), max_size=300), portions=st.lists(st.integers(1, 7)))
def test_pcm_is_the_same_however_it_arrives(samples: list[int], portions: list[int]) -> None:
    raw = np.array(samples, "<i2").tobytes()
    for content in (raw, raw + b"\x7f"):  # half a sample at the end is none
        pieces = [*pcm_pieces(Trickle(content, portions), 16_000)]
        assert all(piece.dtype == np.float32 for piece in pieces)
        heard = np.concatenate([*pieces, np.zeros(0)])
        np.testing.assert_array_equal(heard * 2**15, samples)


@settings(deadline=None, max_examples=20)
@given(rate=st.sampled_from([8_000, 11_025, 44_100, 48_000]), portions=portions)
def test_pcm_of_another_rate_is_resampled_however_it_arrives(rate: int, portions: list[int]) -> None:
    time = np.arange(rate) / rate
    raw = (20_000 * np.sin(2 * np.pi * 440 * time)).astype("<i2").tobytes()
    heard = np.concatenate([*pcm_pieces(Trickle(raw, portions), rate)])
    assert len(heard) == pytest.approx(SAMPLE_RATE, abs=40)
    np.testing.assert_array_equal(heard, np.concatenate([*pcm_pieces(Trickle(raw, []), rate)]))
    # the filter that files go through
    ratio = Fraction(SAMPLE_RATE, rate)
    as_file = resample_poly(np.frombuffer(raw, "<i2").astype(np.float32) / 2**15, ratio.numerator, ratio.denominator)
    np.testing.assert_array_equal(heard, as_file)
    # a second of 440 Hz stays one
    spectrum = np.abs(np.fft.rfft(heard[:SAMPLE_RATE], SAMPLE_RATE))
    assert spectrum.argmax() == 440
    assert np.abs(heard[2000:-2000]).max() == pytest.approx(20_000 / 2**15, rel=0.02)


@pytest.mark.parametrize(
    ("rate", "milliseconds"), [(4_000, 2.5), (8_000, 1.25), (11_025, 0.91), (44_100, 0.625), (44_101, 0.625)]
)
def test_pcm_of_another_rate_waits_a_moment_and_no_longer(rate: int, milliseconds: float) -> None:
    raw = np.zeros(rate, "<i2").tobytes()
    stream = Trickle(raw, [])
    for piece in itertools.accumulate(len(piece) for piece in pcm_pieces(stream, rate)):
        behind = stream.tell() / 2 / rate - piece / SAMPLE_RATE
        assert behind <= milliseconds / 1000 + 1.5 / SAMPLE_RATE


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_nothing_comes_of_no_pcm(rate: int) -> None:
    assert sum(map(len, pcm_pieces(Trickle(b"", []), rate))) == 0
