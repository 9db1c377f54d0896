"""Click tracks in many containers: what is heard lies where a player has it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from objectives.corpora.audio.container import Reader, UncountableError, opened
from objectives.corpora.audio.inspection import probe, probe_duration
from objectives.corpora.audio.reading import read_audio
from objectives.corpora.audio.timeline import ClockError, Stamped, Timeline
from objectives.errors import CorpusError
from tests.support.muxing import clicks, heard_at, mux

CLICKS = (1.0, 2.0, 3.0, 4.2, 5.5, 6.5, 7.5)
GAP = (3.5, 5.0)  # seconds that nothing was sent

# container, codec, sampling rate
CLOCKED = [
    ("mka", "aac", 44_100),
    ("mka", "aac", 8000),
    ("mka", "libmp3lame", 44_100),
    ("mka", "flac", 44_100),
    ("mka", "pcm_s16le", 16_000),
    ("webm", "libopus", 48_000),
    ("m4a", "aac", 44_100),
    ("mp4", "libopus", 48_000),
    ("mp4", "libmp3lame", 44_100),
    ("flv", "aac", 44_100),
    ("flv", "libmp3lame", 44_100),
    ("opus", "libopus", 48_000),
    ("ogg", "flac", 44_100),
    ("ts", "aac", 44_100),
    ("ts", "mp2", 44_100),
    ("asf", "libmp3lame", 44_100),
    ("nut", "libopus", 48_000),
]


def places(path: Path) -> list[float]:
    return heard_at(read_audio(path, probe_duration(path)))


def options_of(container: str) -> dict[str, str]:
    # a page of Ogg has one stamp, so a gap within a page has no place: here each packet has a page of its own
    return {"page_duration": "1"} if container in ("ogg", "opus") else {}


def lost(second: float) -> float | None:
    return None if GAP[0] <= second < GAP[1] else second


@pytest.mark.parametrize(("container", "codec", "rate"), CLOCKED)
def test_what_was_not_sent_is_silence(tmp_path: Path, container: str, codec: str, rate: int) -> None:
    track = clicks(8.0, CLICKS, rate)
    whole = mux(tmp_path / f"whole.{container}", [track], rate, codec, options=options_of(container))
    gap = mux(tmp_path / f"gap.{container}", [track], rate, codec, lost, options_of(container))
    assert places(gap) == pytest.approx([at for at in places(whole) if not 3.6 < at < 4.9], abs=0.005)
    assert probe_duration(gap) == pytest.approx(probe_duration(whole), abs=0.005)
    assert probe(whole).remarks == ()
    (remark,) = probe(gap).remarks
    assert "in which nothing was sent (a gap) are silence" in remark


# MPEG-TS has no zero to start late from
LATE = [case for case in CLOCKED if case[0] != "ts"]


@pytest.mark.parametrize(("container", "codec", "rate"), LATE)
def test_audio_that_starts_later_begins_with_silence(tmp_path: Path, container: str, codec: str, rate: int) -> None:
    track = clicks(4.0, (1.0, 2.0, 3.0), rate)
    late = mux(
        tmp_path / f"late.{container}", [track], rate, codec, lambda second: second + 1.978, options_of(container)
    )
    assert places(late) == pytest.approx([2.978, 3.978, 4.978], abs=0.005)
    assert probe_duration(late) == pytest.approx(5.978, abs=0.1)
    (remark,) = probe(late).remarks
    # FFmpeg stamps the first page of FLAC in Ogg with 0, whatever it says
    assert remark.startswith("1.98 s in which" if codec == "flac" and container == "ogg" else "it begins with 1.9")


def test_a_clock_that_runs_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "back.mka"
    track = clicks(4.0, (1.0, 3.0), 48_000)
    # FFmpeg's muxer refuses to write it, so the stamp of a cluster, in ms, is changed where it lies
    mux(path, [track], 48_000, "libopus", options={"cluster_time_limit": "500"})
    whole = path.read_bytes()
    stamp = (2000).to_bytes(2, "big")
    places = [at for at in range(len(whole) - 3) if whole[at] == 0xE7 and whole[at + 1] == 0x82]
    cluster = next(at for at in places if int.from_bytes(whole[at + 2 : at + 4], "big") > 2500)
    path.write_bytes(whole[: cluster + 2] + stamp + whole[cluster + 4 :])
    with pytest.raises(CorpusError, match=r"back\.mka: its clock runs back, from 2\.\d+ to 1\.9\d+ s: convert"):
        probe(path)


@pytest.mark.parametrize(("container", "codec"), [("mka", "aac"), ("flv", "libmp3lame"), ("webm", "libopus")])
def test_jitter_moves_nothing(tmp_path: Path, container: str, codec: str) -> None:
    random = np.random.default_rng(1)
    rate = 48_000
    track = clicks(8.0, CLICKS, rate)
    steady = mux(tmp_path / f"steady.{container}", [track], rate, codec)
    shaky = mux(
        tmp_path / f"shaky.{container}",
        [track],
        rate,
        codec,
        lambda second: second + float(random.integers(0, 9)) / 1000,
    )
    assert probe(shaky).remarks == ()
    seconds = probe_duration(steady)
    np.testing.assert_array_equal(read_audio(shaky, seconds), read_audio(steady, seconds))


@pytest.mark.parametrize("codec", ["libopus", "vorbis", "flac"])
def test_chained_ogg_is_heard_whole(tmp_path: Path, codec: str) -> None:
    links = []
    for number, (seconds, at) in enumerate([(4.0, 1.0), (2.0, 0.5), (3.0, 2.0)]):
        path = tmp_path / f"{number}.ogg"
        samples = clicks(seconds, (at,), 48_000)
        if codec == "vorbis":
            soundfile.write(path, samples, 48_000, format="OGG", subtype="VORBIS")
        else:
            mux(path, [samples], 48_000, codec)
        links.append(path.read_bytes())
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(b"".join(links))
    assert probe_duration(chained) == pytest.approx(9.0, abs=1e-6)
    assert places(chained) == pytest.approx([1.0, 4.5, 8.0], abs=0.005)
    assert probe(chained).remarks == ()


def test_a_stream_that_somebody_tuned_into_begins_where_it_was_recorded(tmp_path: Path) -> None:
    path = mux(tmp_path / "radio.mka", [clicks(2.0, (1.0,), 48_000)], 48_000, "libopus", lambda second: second + 3000)
    assert probe_duration(path) == pytest.approx(2.0, abs=0.01)
    assert places(path) == pytest.approx([1.0], abs=0.005)
    assert probe(path).remarks == ("its clock begins at 3000 s, as a stream's: times are counted from there",)


def test_a_matroska_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = mux(tmp_path / "cut.mka", [clicks(8.0, CLICKS, 48_000)], 48_000, "libopus")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"cut\.mka: 8\.\d+ s were announced and only 4\.\d+ s are there"):
        probe(path)


@pytest.mark.parametrize(
    ("container", "codec", "rate"), [*CLOCKED, ("mp3", "libmp3lame", 44_100), ("aac", "aac", 8000)]
)
def test_packets_are_as_long_as_what_they_become(tmp_path: Path, container: str, codec: str, rate: int) -> None:
    path = mux(tmp_path / f"a.{container}", [clicks(3.1, (1.0,), rate)], rate, codec, lost)
    lengths = []
    for decode in (True, False):
        with opened(path, {}) as file:
            reader = Reader(file, 0)
            try:
                pieces = list(reader.decoded() if decode else reader.counted())
            except UncountableError:
                assert codec in ("flac", "pcm_s16le") or container == "nut"
                return
            lengths.append(sum(silent + piece.samples for silent, piece in reader.timeline().place(pieces)))
    assert lengths[1] == lengths[0]


def pieces(*stamps: float | None, samples: int = 100, anew: int | None = None) -> list[Stamped]:
    return [Stamped(stamp, samples, 1000, anew=number == anew) for number, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    ("given", "silent"),
    [
        (pieces(0.0, 0.1, 0.2), [0, 0, 0]),
        (pieces(5.0, 5.1, 5.2), [0, 0, 0]),  # what lies before the first is not its concern
        (pieces(0.0, 0.3, 0.4), [0, 200, 0]),
        (pieces(0.0, 0.3, 0.4, 1.5), [0, 200, 0, 1000]),
        (pieces(0.0, 0.104, 0.204), [0, 0, 0]),  # within what stamps are rounded to
        (pieces(0.0, 0.12, 0.2, 0.3), [0, 0, 0, 0]),  # one that is late by itself
        (pieces(0.0, None, 0.2, None, 0.9), [0, 0, 0, 500, 0]),  # nobody knows which: the first that may be
        (pieces(None, None, None), [0, 0, 0]),
        (pieces(0.0, 0.1, 0.0, 0.1, anew=2), [0, 0, 0, 0]),
        (pieces(0.0, 0.1, 7.0, 7.1, anew=2), [0, 0, 0, 0]),
        (pieces(0.0, 0.06, 0.12), [0, 0, 0]),  # a slow clock: sound is never thrown away
    ],
)
def test_silence_stands_where_stamps_say(given: list[Stamped], silent: list[int]) -> None:
    assert [gap for gap, _ in Timeline().place(given)] == silent


@pytest.mark.parametrize(
    ("stamps", "says"),
    [((0.0, 1.0, 0.9), "runs back, from 1.000 to 0.900 s"), ((0.0, 90_000.0), "jumps by 90000 s, more than a day")],
)
def test_clocks_that_cannot_be_followed(stamps: tuple[float, ...], says: str) -> None:
    with pytest.raises(ClockError, match=says):
        list(Timeline().place(pieces(*stamps)))
