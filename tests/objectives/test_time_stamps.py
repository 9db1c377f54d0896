"""Click tracks in many containers: what is heard lies where a player has it."""

from pathlib import Path

import numpy as np
import pytest

from objectives._audio import audio_pieces, probe, probe_duration, read_audio
from objectives._container import Reader, opened
from objectives._timeline import ClockError, Stamped, Timeline
from objectives.errors import CorpusError
from tests.objectives.muxing import clicks, heard_at, mux

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
    assert remark.startswith(("it begins with 1.9", "it begins with 2.0"))
