"""What a file holds decides: its length, its decoder, its tracks and its channels, whatever its header or name says."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from objectives.corpora.audio.channels import cancelling
from objectives.corpora.audio.inspection import probe, probe_duration
from objectives.corpora.audio.reading import audio_pieces, read_audio
from objectives.errors import CorpusError
from tests.support.corpora import RATE, encode_audio, tone, write_audio
from tests.support.muxing import clicks, heard_at, mux

SECOND = 2 * RATE  # bytes of 16-bit sound


def wav(path: Path, samples: np.ndarray, announced: int | None = None, after: bytes = b"") -> Path:
    """16-bit PCM whose header announces so many bytes, if it does not tell the truth."""
    sound = (samples * 2**15).astype("<i2").tobytes()
    length = len(sound) if announced is None else announced
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", length)
    path.write_bytes(b"RIFF" + struct.pack("<I", min(length + 36, 2**32 - 1)) + b"WAVE" + head + sound + after)
    return path


def wrapped(path: Path, tag: int, rate: int, content: bytes, per_second: int, block: int = 1, bits: int = 0) -> Path:
    """A WAV around what another codec made."""
    form = struct.pack("<HHIIHHH", tag, 1, rate, per_second, block, bits, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize("announced", [0, 2**32 - 1, 2**31 - 2**12, 2**31])
def test_a_wav_whose_header_was_never_completed_is_read_to_its_end(tmp_path: Path, announced: int) -> None:
    samples = tone(3.0)
    path = wav(tmp_path / "a.wav", samples, announced)
    assert probe_duration(path) == 3.0
    np.testing.assert_allclose(read_audio(path, 3.0), samples, atol=1e-4)
    assert probe(path).remarks == ()


def test_a_wav_that_goes_on_after_its_header_ends_is_read_with_a_remark(tmp_path: Path) -> None:
    samples = tone(3.0)
    path = wav(tmp_path / "a.wav", samples, SECOND)
    np.testing.assert_allclose(read_audio(path, probe_duration(path)), samples, atol=1e-4)
    assert probe(path).remarks == ("its header announces 1.000 s and it holds 3.000 s: all is heard",)


@pytest.mark.parametrize(
    "after",
    [
        b"LIST" + struct.pack("<I", 4000) + b"INFO" + bytes(3996),
        b"LIST" + struct.pack("<I", 4) + b"INFO" + b"bext" + struct.pack("<I", 601) + bytes(602),
        b"ID3\x04\x00" + bytes(5000),
        bytes(100),
    ],
    ids=["list", "two chunks", "tag", "padding"],
)
def test_what_is_no_sound_after_the_sound_is_not_heard(tmp_path: Path, after: bytes) -> None:
    path = wav(tmp_path / "a.wav", tone(1.0), after=after)
    assert probe_duration(path) == 1.0
    assert probe(path).remarks == ()


PLAIN = [
    ("WAV", "wav"),
    ("WAVEX", "wav"),
    ("RF64", "wav"),
    ("AIFF", "aiff"),
    ("AU", "au"),
    ("W64", "w64"),
    ("CAF", "caf"),
]


@pytest.mark.parametrize(("form", "suffix"), [*PLAIN, ("NIST", "sph")])
def test_a_file_that_holds_less_than_it_announces_is_refused(tmp_path: Path, form: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(3.0), RATE, format=form, subtype="PCM_16")
    assert probe_duration(path) == 3.0
    np.testing.assert_allclose(read_audio(path, 3.0), tone(3.0), atol=1e-4)
    path.write_bytes(path.read_bytes()[:-SECOND])
    says = rf"a\.{suffix}: its header announces 960?0?\d+ bytes of sound and the file holds \d+: the file is truncated"
    with pytest.raises(CorpusError, match=says):
        probe(path)


def test_codecs_inside_wav(tmp_path: Path) -> None:
    rate, samples = 8000, clicks(4.0, (1.0, 3.0), 8000)
    for codec in ("libmp3lame", "g722", "g726", "pcm_mulaw", "pcm_alaw", "adpcm_ima_wav", "adpcm_ms"):
        path = mux(tmp_path / f"{codec}.wav", [samples], rate, codec)
        seconds = probe_duration(path)
        assert seconds == pytest.approx(4.0, abs=0.3)  # MP3 has a frame or two more, ADPCM a block
        delay = 0.14 if codec == "libmp3lame" else 0.0  # no header in a WAV tells of its encoder's delay
        assert heard_at(read_audio(path, seconds)) == pytest.approx([1.0 + delay, 3.0 + delay], abs=0.02), codec
    framed = encode_audio(tmp_path / "a.aac", samples, rate)
    inside = wrapped(tmp_path / "inside.wav", 0x1600, rate, framed.read_bytes(), 4000)
    np.testing.assert_array_equal(read_audio(inside, 3.9), read_audio(framed, 3.9))


def test_frames_that_wav_does_not_keep_apart_are_refused(tmp_path: Path) -> None:
    path = mux(tmp_path / "raw.wav", [tone(6.0, 44_100)], 44_100, "aac")
    with pytest.raises(CorpusError, match=r"raw\.wav: .*(can be decoded of about|not readable as audio)"):
        probe(path)


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mp3", "libmp3lame"), ("webm", "libopus")])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.caf"])
def test_a_name_decides_nothing(tmp_path: Path, suffix: str, codec: str, name: str) -> None:
    true = mux(tmp_path / f"true.{suffix}", [clicks(3.0, (1.0,), 48_000)], 48_000, codec)
    named = true.rename(tmp_path / name)
    assert heard_at(read_audio(named, probe_duration(named))) == pytest.approx([1.0], abs=0.005)


def test_tracks_are_mixed_or_chosen_and_never_dropped(tmp_path: Path) -> None:
    tracks = [clicks(4.0, (1.0,), 48_000), clicks(3.0, (2.0,), 48_000)]
    path = mux(tmp_path / "two.mka", tracks, 48_000, "libopus")
    assert probe(path).remarks == ("its 2 audio tracks are mixed into one",)
    assert probe_duration(path) == pytest.approx(4.0, abs=0.01)
    alone = [np.concatenate([*audio_pieces(path, probe(path, track).duration, track)]) for track in (1, 2)]
    assert heard_at(alone[0]) == pytest.approx([1.0], abs=0.005)
    assert heard_at(alone[1]) == pytest.approx([2.0], abs=0.005)
    assert probe(path, 2).duration == pytest.approx(3.0, abs=0.01)
    assert probe(path, 2).remarks == ()
    mixed = read_audio(path, probe_duration(path))
    assert heard_at(mixed) == pytest.approx([1.0, 2.0], abs=0.005)
    padded = np.pad(alone[1], (0, len(alone[0]) - len(alone[1])))
    np.testing.assert_allclose(mixed, (alone[0] + padded) / 2, atol=1e-6)
    with pytest.raises(CorpusError, match=r"two\.mka: has no track 3: it has 2 audio tracks, give 1 to 2"):
        probe(path, 3)
    with pytest.raises(CorpusError, match=r"a\.wav: has no track 2: it has one audio track"):
        probe(write_audio(tmp_path / "a.wav", tone(1.0)), 2)


def test_a_track_that_nobody_can_decode_is_not_dropped_without_a_word(tmp_path: Path) -> None:
    path = mux(tmp_path / "two.mka", [clicks(2.0, (at,), 48_000) for at in (0.5, 1.0)], 48_000, "flac")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"A_FLAC", b"A_XXXX", 1))
    assert probe(path).remarks == ("1 more audio tracks are in a codec that is not known, and not heard",)
    assert heard_at(read_audio(path, probe_duration(path))) == pytest.approx([1.0], abs=0.005)
    path.write_bytes(whole.replace(b"A_FLAC", b"A_XXXX"))
    with pytest.raises(CorpusError, match=r"two\.mka: holds no audio stream that can be decoded"):
        probe(path)


def noise(seed: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(2 * RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "heard"),
    [
        ([noise(1), noise(1)], None),
        ([noise(1), noise(2)], None),  # a person a channel
        ([noise(1), 0 * noise(1)], None),  # one of them is dead
        ([noise(1), -noise(1)], 0),
        ([0.5 * noise(1), -0.6 * noise(1)], 1),
        ([noise(1) + 0.3, 0.3 - noise(1)], 0),  # what is constant is no sound
        ([noise(1), -noise(1), 0 * noise(1)], 0),
        ([noise(seed) for seed in range(8)], None),
        ([0 * noise(1), 0 * noise(1)], None),
    ],
)
def test_the_loudest_is_heard_if_channels_cancel_out(
    tmp_path: Path, channels: list[np.ndarray], heard: int | None
) -> None:
    samples = np.stack(channels, axis=1).astype(np.float32)
    path = write_audio(tmp_path / "a.wav", samples)
    wanted = samples.mean(axis=1) if heard is None else samples[:, heard]
    np.testing.assert_allclose(read_audio(path, 2.0), wanted, atol=1e-6)
    remarks = probe(path).remarks
    assert bool(remarks) == (heard is not None)
    if heard is not None:
        assert f"channel {heard + 1}): that one is heard alone" in remarks[0]


def test_how_much_louder_the_loudest_is() -> None:
    # the mean of x and -0.8 x is 0.1 x, a tenth of the louder one: 20 dB
    found = cancelling([np.stack([noise(1), -0.8 * noise(1)])])
    assert found is not None
    assert found == (0, pytest.approx(20.0, abs=1e-3))


def test_channels_of_an_encoded_file_cancel_out_too(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.m4a"
    samples = np.stack([tone(65.0), -tone(65.0)])  # longer than what is heard of it whole
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        stream.codec_context.options = {"aac_coder": "fast"}
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    assert "its channels cancel each other out" in probe(path).remarks[0]
    middle = read_audio(path, 65.0)[RATE:-RATE]
    assert np.sqrt(np.mean(np.square(middle))) == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
