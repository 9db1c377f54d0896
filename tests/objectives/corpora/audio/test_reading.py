import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from objectives.corpora.audio.inspection import probe_duration
from objectives.corpora.audio.reading import audio_pieces, read_audio
from objectives.errors import CorpusError
from tests.support.corpora import RATE, encode_audio, tone, write_audio


def burst(rate: int, start: float = 1.0, seconds: float = 2.137) -> np.ndarray:
    """Silence, then a tone from `start`: where it sets in shows whether a decoder shifts the audio."""
    samples = tone(seconds, rate)
    samples[: round(start * rate)] = 0.0
    return samples


def onset(waveform: np.ndarray) -> float:
    return float(np.flatnonzero(np.abs(waveform) > 0.1)[0]) / RATE


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_16_khz_mono_comes_back_as_it_is(tmp_path: Path, suffix: str) -> None:
    samples = tone(1.2345)
    path = write_audio(tmp_path / f"a{suffix}", samples)
    assert probe_duration(path) == len(samples) / RATE
    waveform = read_audio(path, probe_duration(path))
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, samples, atol=1e-4)  # FLAC is 16-bit here


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5), np.full(8000, 0.2, dtype=np.float32)
    path = write_audio(tmp_path / "a.wav", np.stack([left, right], axis=1))
    np.testing.assert_allclose(read_audio(path, 0.5), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_signal_in_place(tmp_path: Path, rate: int) -> None:
    path = write_audio(tmp_path / "a.wav", tone(1.5, rate), rate)
    waveform = read_audio(path, probe_duration(path))
    assert waveform.shape == (24_000,)
    inner = slice(800, -800)  # the filter rings at the edges
    np.testing.assert_allclose(waveform[inner], tone(1.5)[inner], atol=3e-3)


def test_resampling_removes_what_16_khz_cannot_hold(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", tone(1.0, 48_000, frequency=11_000.0), 48_000)
    assert np.abs(read_audio(path, 1.0)[800:-800]).max() < 0.003  # 0.3 in: at least 40 dB less


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.m4a", "aac", 8000), ("a.m4a", "aac", 44_100), ("a.mp3", "libmp3lame", 16_000), ("a.opus", "libopus", 48_000)],
)
def test_encoded_audio_is_as_long_as_it_was_and_in_place(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = encode_audio(tmp_path / name, burst(rate), rate, codec)
    duration = probe_duration(path)
    waveform = read_audio(path, duration)
    assert duration == pytest.approx(2.137, abs=0.01)
    assert waveform.shape == (round(duration * RATE),)
    assert onset(waveform) == pytest.approx(1.0, abs=0.02)  # AAC smears an onset over part of its frame


def test_raw_aac_is_measured_by_decoding_it(tmp_path: Path) -> None:
    path = encode_audio(tmp_path / "a.aac", burst(16_000), 16_000)
    duration = probe_duration(path)
    assert duration % (1024 / 16_000) == pytest.approx(0.0, abs=1e-9)  # whole frames: nothing tells of their padding
    assert read_audio(path, duration).shape == (round(duration * RATE),)


def test_only_the_asked_for_seconds_are_read(tmp_path: Path) -> None:
    samples = tone(2.0)
    samples[16_000:] = np.nan
    path = write_audio(tmp_path / "a.wav", samples)
    np.testing.assert_array_equal(read_audio(path, 1.0), samples[:16_000])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named_by_its_time(tmp_path: Path, bad: float) -> None:
    samples = tone(1.0)
    samples[8000] = bad
    path = write_audio(tmp_path / "a.wav", samples)
    with pytest.raises(CorpusError, match=r"a\.wav: the sample at 0\.500 s is (nan|inf|-inf)"):
        read_audio(path, 1.0)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a", "a.mp3"])
def test_unreadable_audio(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"this is a page of text, and no audio at all\n" * 50)
    with pytest.raises(CorpusError, match=r"not readable as audio"):
        probe_duration(path)
    with pytest.raises(CorpusError, match=r"not readable as audio"):
        read_audio(path, 1.0)


def test_empty_audio(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.m4a"
    nothing.touch()
    with pytest.raises(CorpusError, match=r"nothing\.m4a: the audio is empty \(0 bytes\)"):
        probe_duration(nothing)
    with pytest.raises(CorpusError, match=r"header\.wav: the audio is empty \(0 samples\)"):
        probe_duration(write_audio(tmp_path / "header.wav", np.zeros(0, dtype=np.float32)))


def test_missing_audio(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.wav: cannot open the audio"):
        read_audio(tmp_path / "gone.wav", 1.0)


def test_audio_shorter_than_announced(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", tone(1.0))
    padded = read_audio(path, 1.05)  # a codec's frame less: filled with silence
    assert padded.shape == (16_800,)
    assert not padded[16_000:].any()
    with pytest.raises(CorpusError, match=r"1\.500 s were announced and only 1\.000 s could be decoded"):
        read_audio(path, 1.5)


def test_a_truncated_encoded_file(tmp_path: Path) -> None:
    whole = encode_audio(tmp_path / "a.mp3", burst(16_000, seconds=4.0), 16_000, "libmp3lame")
    duration = probe_duration(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"a\.mp3"):
        read_audio(whole, duration)


def test_video_without_sound(tmp_path: Path) -> None:
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8))
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(CorpusError, match=r"silent\.mp4: holds no audio stream"):
        probe_duration(path)


def test_integer_wav_is_scaled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5), RATE, subtype="PCM_16")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", 0.5), tone(0.5), atol=1e-4)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (22_050, 3), (44_056, 1), (44_100, 2)])
def test_pieces_are_the_whole_bit_for_bit(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.random.default_rng(rate).standard_normal((rate * 70 + 123, channels)).astype(np.float32) / 10
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    duration = probe_duration(path)
    ratio = Fraction(RATE, rate)
    mono = samples.mean(axis=1)
    whole = mono if rate == RATE else resample_poly(mono, ratio.numerator, ratio.denominator)
    pieces = list(audio_pieces(path, duration))
    assert len(pieces) > 1
    together = np.concatenate(pieces)
    assert len(together) == round(duration * RATE)
    np.testing.assert_array_equal(together[: len(whole)], whole[: len(together)])
    np.testing.assert_array_equal(read_audio(path, duration), together)
    assert len(read_audio(path, 33.3)) == round(33.3 * RATE)


def test_pieces_of_encoded_audio_are_the_whole(tmp_path: Path) -> None:
    path = encode_audio(tmp_path / "a.m4a", tone(40.0, 44_100), 44_100)
    duration = probe_duration(path)
    pieces = list(audio_pieces(path, duration))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), read_audio(path, duration))


PEAK = """
import resource, sys
from pathlib import Path
from objectives.corpora.audio.inspection import probe_duration
from objectives.corpora.audio.reading import audio_pieces
path = Path(sys.argv[1])
print(sum(map(len, audio_pieces(path, probe_duration(path)))), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_half_an_hour_takes_no_more_memory_than_two_minutes(tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 30):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(tone(60.0, 8000))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, timeout=300, check=True
        )
        samples, peak = map(int, done.stdout.split())
        assert samples == minutes * 60 * RATE
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 50, peaks  # MiB; at once they would be 115 MB and more


def test_a_title_that_is_not_utf8_is_nobodys_concern(tmp_path: Path) -> None:
    path = encode_audio(tmp_path / "a.mp3", burst(16_000), 16_000, "libmp3lame")
    title = b"TIT2" + (4).to_bytes(4, "big") + b"\x00\x00" + b"\x03\xe9t\xe9"  # said to be UTF-8, and Latin-1
    whole = path.read_bytes()
    tagged = b"ID3\x03\x00\x00" + bytes([0, 0, 0, len(title)]) + title
    path.write_bytes(
        tagged + whole[10 + int.from_bytes(whole[6:10], "big") :] if whole[:3] == b"ID3" else tagged + whole
    )
    assert probe_duration(path) == pytest.approx(2.137, abs=0.1)


def test_a_rate_out_of_a_damaged_header(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", tone(1.0))
    whole = bytearray(path.read_bytes())
    whole[24:28] = (2**30).to_bytes(4, "little")
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match=r"a\.wav: a sampling rate of 1073741824 Hz: use 4000 to 384000 Hz"):
        probe_duration(path)
