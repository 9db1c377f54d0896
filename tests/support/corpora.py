"""Small corpora that tests write to disk."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.io import wavfile

RATE = 16_000

Turn = tuple[float, float, str]  # start and duration in seconds, speaker


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    """(samples,) float32 sine; another frequency is another content hash."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write (samples,) or (samples, channels) as 32-bit float WAV, or as FLAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        wavfile.write(
            path, rate, samples
        )  # libsndfile's holds the time of writing, so a second later it is another file
    else:
        soundfile.write(path, samples, rate)
    return path


def encode_audio(path: Path, samples: np.ndarray, rate: int, codec: str = "aac") -> Path:
    """Encode (samples,) mono float32 with FFmpeg; the suffix chooses the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


def rttm(uri: str, turns: Iterable[Turn]) -> str:
    """RTTM text of one recording."""
    return "".join(f"SPEAKER {uri} 1 {s:.3f} {d:.3f} <NA> <NA> {who} <NA> <NA>\n" for s, d, who in turns)


def write_recording(folder: Path, uri: str, seconds: float = 2.0, turns: Iterable[Turn] = ((0.5, 1.0, "ana"),)) -> Path:
    """`uri.wav` and `uri.rttm` in a folder, the sound different for every URI."""
    frequency = 200.0 + sum(ord(letter) * (place + 1) for place, letter in enumerate(uri))
    audio = write_audio(folder / f"{uri}.wav", tone(seconds, frequency=frequency))
    (folder / f"{uri}.rttm").write_text(rttm(uri, turns))
    return audio
