"""Audio files as this project hears them: mono, 16 kHz, float32.

WAV, FLAC and AIFF go through soundfile; everything else through PyAV, which carries its own FFmpeg. Resampling is
SciPy's polyphase filter: a linear-phase FIR that needs nothing beyond what is installed already (torchaudio would need
a CUDA library beside a CPU torch). Channels are averaged before resampling.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from objectives.contract import SAMPLE_RATE
from objectives.errors import CorpusError

SOUNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".aif", ".aiff"})
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | {
    *(".m4a", ".mp4", ".mp3", ".aac", ".ogg", ".oga", ".opus", ".webm", ".mka", ".wma", ".amr"),
}

# FFmpeg's names of containers whose header states the duration; of others (MP3, raw AAC) it is an estimate
_STATES_DURATION = ("mov,", "ogg", "matroska,", "asf")

# Codecs round the end of a file to their frame: what is missing by less than this is filled with zeros
PADDING_TOLERANCE = 0.1  # seconds

_Chunk = tuple[np.ndarray, int]  # (channels, samples) float32, sampling rate in Hz


def probe_duration(path: Path) -> float:
    """Duration of an audio file in seconds, from its header where the header knows it, else by decoding it.

    Raises CorpusError where the file is missing, empty, or no audio.
    """
    _require_content(path)
    seconds = _soundfile_duration(path) if path.suffix.lower() in SOUNDFILE_SUFFIXES else _av_duration(path)
    if not seconds > 0:
        raise CorpusError(f"{path}: the audio is empty (0 samples): replace the file or remove it from the corpus")
    return seconds


def read_audio(path: Path, duration: float) -> np.ndarray:
    """The first `duration` seconds: (round(duration · 16000),) float32, mono, 16 kHz.

    Nothing after `duration` is used. Raises CorpusError where the file cannot be decoded, ends more than 0.1 s too
    early, or holds samples that are NaN or infinite.
    """
    _require_content(path)
    is_soundfile = path.suffix.lower() in SOUNDFILE_SUFFIXES
    mono, rate = _read_soundfile(path, duration) if is_soundfile else _read_av(path, duration)  # (samples,)
    if not np.isfinite(mono).all():
        first = int(np.flatnonzero(~np.isfinite(mono))[0])
        raise CorpusError(
            f"{path}: the sample at {first / rate:.3f} s is {mono[first]}: NaN and infinite samples cannot be "
            "processed, convert the file again from its source"
        )
    if len(mono) < (duration - PADDING_TOLERANCE) * rate:
        raise CorpusError(
            f"{path}: {duration:.3f} s were announced and only {len(mono) / rate:.3f} s could be decoded: "
            "the file is truncated, copy it again"
        )
    if rate != SAMPLE_RATE:
        from scipy.signal import resample_poly  # takes a second to import, and most corpora are at 16 kHz already

        ratio = Fraction(SAMPLE_RATE, rate)
        mono = resample_poly(mono, ratio.numerator, ratio.denominator)  # (samples at 16 kHz,)
    samples = round(duration * SAMPLE_RATE)
    mono = mono[:samples]
    return np.pad(mono, (0, samples - len(mono))).astype(np.float32, copy=False)  # (samples,)


def _require_content(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CorpusError(f"{path}: cannot open the audio ({error.strerror}): check the path") from error
    if size == 0:
        raise CorpusError(f"{path}: the audio is empty (0 bytes): replace the file or remove it from the corpus")


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: not readable as audio ({error}): convert it to WAV or FLAC, or remove it")


def _soundfile_duration(path: Path) -> float:
    try:
        info = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise _unreadable(path, error) from error
    return info.frames / info.samplerate


def _read_soundfile(path: Path, duration: float) -> tuple[np.ndarray, int]:
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate: int = file.samplerate
            samples = file.read(_frames(duration, rate), dtype="float32", always_2d=True)  # (samples, channels)
    except soundfile.SoundFileError as error:
        raise _unreadable(path, error) from error
    return samples.mean(axis=1), rate


def _av_duration(path: Path) -> float:
    try:
        with av.open(str(path)) as container:
            stream = _audio_stream(path, container)
            if container.format.name.startswith(_STATES_DURATION):
                if stream.duration is not None and stream.time_base is not None:
                    return float(stream.duration * stream.time_base)
                if container.duration is not None:
                    return float(container.duration / av.time_base)
            return sum(frame.samples / frame.sample_rate for frame in container.decode(stream))
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def _read_av(path: Path, duration: float) -> tuple[np.ndarray, int]:
    parts: list[np.ndarray] = []
    heard, rate = 0, SAMPLE_RATE
    try:
        for chunk, chunk_rate in _decode(path):
            if parts and chunk_rate != rate:
                raise CorpusError(
                    f"{path}: the sampling rate changes from {rate} to {chunk_rate} Hz within the file: "
                    "convert it to WAV or FLAC"
                )
            rate = chunk_rate
            parts.append(chunk.mean(axis=0))  # (samples,)
            heard += chunk.shape[1]
            if heard >= _frames(duration, rate):
                break
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error
    mono = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    return mono[: _frames(duration, rate)], rate


def _decode(path: Path) -> Iterator[_Chunk]:
    with av.open(str(path)) as container:
        to_float: av.AudioResampler | None = None
        for frame in container.decode(_audio_stream(path, container)):
            if to_float is None:  # planar float at the file's own rate and layout
                to_float = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            for converted in to_float.resample(frame):
                yield converted.to_ndarray(), converted.sample_rate  # (channels, samples)


def _audio_stream(path: Path, container: "av.container.InputContainer") -> "av.AudioStream":
    if not container.streams.audio:
        raise CorpusError(f"{path}: holds no audio stream: replace the file or remove it from the corpus")
    return container.streams.audio[0]


def _frames(duration: float, rate: int) -> int:
    # a header's duration is a float: 1e-6 of a sample must not become one sample more
    return math.ceil(duration * rate - 1e-6)
