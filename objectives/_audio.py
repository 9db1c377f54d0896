"""Audio files as this project hears them: mono, 16 kHz, float32.

WAV, FLAC and AIFF go through soundfile; everything else through PyAV, which carries its own FFmpeg. Resampling is
SciPy's polyphase filter: a linear-phase FIR that needs nothing beyond what is installed already (torchaudio would need
a CUDA library beside a CPU torch). Channels are averaged before resampling.
"""

import itertools
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import soundfile

from objectives._resampling import resampled
from objectives.contract import SAMPLE_RATE
from objectives.errors import CorpusError, reason_of

SOUNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".aif", ".aiff"})
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | {
    *(".m4a", ".mp4", ".mp3", ".aac", ".ogg", ".oga", ".opus", ".webm", ".mka", ".wma", ".amr"),
}

# FFmpeg's names of containers whose header states the duration; of others (MP3, raw AAC) it is an estimate
_STATES_DURATION = ("mov,", "ogg", "matroska,", "asf")

# Codecs round the end of a file to their frame: what is missing by less than this is filled with zeros
PADDING_TOLERANCE = 0.1  # seconds

RATES = (4000, 384_000)  # Hz: what is outside comes of a damaged header, and a filter for it would fill the memory
CHUNK = 2**20  # samples, of all channels together, that are decoded at once

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
    waveform = np.zeros(0, np.float32)
    count = 0
    for piece in audio_pieces(path, duration):
        if count + len(piece) > len(waveform):
            # in place: what a header announces is not believed before it is there, and nothing is held twice
            waveform.resize(min(round(duration * SAMPLE_RATE), max(2 * count, count + len(piece))), refcheck=False)
        waveform[count : count + len(piece)] = piece
        count += len(piece)
    return waveform


def audio_pieces(path: Path, duration: float) -> Iterator[np.ndarray]:
    """What `read_audio` returns, in pieces of (samples,), of which no more than the current one is held. Raises as it
    does, where the file turns out to be wrong."""
    _require_content(path)
    wanted = round(duration * SAMPLE_RATE)
    count = 0
    for piece in _at_16_khz(_sound(path, duration)):
        piece = piece[: wanted - count]
        count += len(piece)
        if len(piece):
            yield piece
    if count < wanted:
        yield np.zeros(wanted - count, np.float32)


def _at_16_khz(chunks: Iterator[_Chunk]) -> Iterator[np.ndarray]:
    first = next(chunks, None)
    if first is None:
        return
    mono, rate = first
    pieces = (piece for piece, _ in itertools.chain([(mono, rate)], chunks))
    yield from pieces if rate == SAMPLE_RATE else resampled(pieces, rate)


def _sound(path: Path, duration: float) -> Iterator[_Chunk]:
    """The channels' mean, (samples,) float32, and the rate, piece by piece, as far as `duration`; all of it checked."""
    heard, rate = 0, 0
    with closing(_decoded(path)) as chunks:
        for chunk, chunk_rate in chunks:
            rate = rate or _usable_rate(path, chunk_rate)
            if chunk_rate != rate:
                raise CorpusError(
                    f"{path}: the sampling rate changes from {rate} to {chunk_rate} Hz within the file: "
                    "convert it to WAV or FLAC"
                )
            mono = chunk.mean(axis=0)[: _frames(duration, rate) - heard]  # (samples,)
            _refuse_no_number(path, mono, heard, rate)
            heard += len(mono)
            yield mono, rate
            if heard >= _frames(duration, rate):
                return
    seconds = heard / (rate or SAMPLE_RATE)
    if seconds < duration - PADDING_TOLERANCE:
        raise CorpusError(
            f"{path}: {duration:.3f} s were announced and only {seconds:.3f} s could be decoded: "
            "the file is truncated, copy it again"
        )


def _usable_rate(path: Path, rate: int) -> int:
    low, high = RATES
    if not low <= rate <= high:
        raise CorpusError(
            f"{path}: a sampling rate of {rate} Hz: use {low} to {high} Hz, or convert the file again from its source"
        )
    return rate


def _refuse_no_number(path: Path, mono: np.ndarray, heard: int, rate: int) -> None:
    if not np.isfinite(mono).all():
        first = int(np.flatnonzero(~np.isfinite(mono))[0])
        raise CorpusError(
            f"{path}: the sample at {(heard + first) / rate:.3f} s is {mono[first]}: NaN and infinite samples cannot "
            "be processed, convert the file again from its source"
        )


def _require_content(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CorpusError(f"{path}: cannot open the audio ({error.strerror}): check the path") from error
    if size == 0:
        raise CorpusError(f"{path}: the audio is empty (0 bytes): replace the file or remove it from the corpus")


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: not readable as audio ({reason_of(error)}): convert it to WAV or FLAC, or remove it")


def _soundfile_duration(path: Path) -> float:
    try:
        info = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise _unreadable(path, error) from error
    return info.frames / _usable_rate(path, info.samplerate)


def _decoded(path: Path) -> Generator[_Chunk, None, None]:
    try:
        yield from _soundfile_chunks(path) if path.suffix.lower() in SOUNDFILE_SUFFIXES else _decode(path)
    except (soundfile.SoundFileError, av.FFmpegError) as error:
        raise _unreadable(path, error) from error


def _soundfile_chunks(path: Path) -> Iterator[_Chunk]:
    with soundfile.SoundFile(str(path)) as file:
        size = max(1, CHUNK // file.channels)
        while len(samples := file.read(size, dtype="float32", always_2d=True)):  # (samples, channels)
            yield samples.T, file.samplerate


def _av_duration(path: Path) -> float:
    try:
        with _opened(path) as container:
            stream = _audio_stream(path, container)
            if container.format.name.startswith(_STATES_DURATION):
                if stream.duration is not None and stream.time_base is not None:
                    return float(stream.duration * stream.time_base)
                if container.duration is not None:
                    return float(container.duration / av.time_base)
            return sum(frame.samples / frame.sample_rate for frame in container.decode(stream))
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def _decode(path: Path) -> Iterator[_Chunk]:
    with _opened(path) as container:
        to_float: av.AudioResampler | None = None
        for frame in container.decode(_audio_stream(path, container)):
            if to_float is None:  # planar float at the file's own rate and layout
                to_float = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            for converted in to_float.resample(frame):
                yield converted.to_ndarray(), converted.sample_rate  # (channels, samples)


def _opened(path: Path) -> "av.container.InputContainer":
    # titles and the like are often not UTF-8, and nobody here reads them
    return av.open(str(path), metadata_errors="replace")


def _audio_stream(path: Path, container: "av.container.InputContainer") -> "av.AudioStream":
    if not container.streams.audio:
        raise CorpusError(f"{path}: holds no audio stream: replace the file or remove it from the corpus")
    return container.streams.audio[0]


def _frames(duration: float, rate: int) -> int:
    # a header's duration is a float: 1e-6 of a sample must not become one sample more
    return math.ceil(duration * rate - 1e-6)
