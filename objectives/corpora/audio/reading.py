"""Read audio files as mono, 16 kHz, float32, on a player's time line.

The format is determined by the content, not the suffix. Plain samples (WAV, FLAC, AIFF, W64, CAF, AU, SPHERE) are read
by soundfile, everything else by PyAV, which includes FFmpeg. Channels are averaged, unless they cancel each other out.
The result is resampled, and then tracks are mixed. Resampling uses SciPy's polyphase filter, a linear-phase FIR,
because torchaudio would need a CUDA library beside a CPU build of torch.
"""

import itertools
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile

from objectives.corpora.audio.container import Reader, opened
from objectives.corpora.audio.inspection import (
    CHUNK,
    PADDING_TOLERANCE,
    AudioFile,
    Track,
    decoding,
    probe,
    usable_rate,
)
from objectives.corpora.audio.resampling import resampled
from objectives.errors import CorpusError
from objectives.models.contract import SAMPLE_RATE

AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".flac", ".aif", ".aiff", ".w64", ".caf", ".au", ".sph"),
        *(".m4a", ".mp4", ".mov", ".3gp", ".mp3", ".aac", ".ogg", ".oga", ".opus"),
        *(".webm", ".mka", ".mkv", ".wma", ".amr"),
    }
)

_Chunk = tuple[np.ndarray, int]  # (channels, samples) float32, sampling rate in Hz


def read_audio(path: Path, duration: float) -> np.ndarray:
    """Read the first `duration` seconds: (round(duration · 16000),) float32, mono, 16 kHz.

    Nothing after `duration` is used, except to choose a channel if channels cancel each other out. Raises CorpusError
    as `probe` does, and if the file cannot be decoded, ends more than 0.1 s too early, or holds NaN or infinite
    samples.
    """
    waveform = np.zeros(0, np.float32)
    count = 0
    for piece in audio_pieces(path, duration):
        if count + len(piece) > len(waveform):
            # grow in place: the announced length may be wrong, and two copies may not fit into memory
            waveform.resize(min(round(duration * SAMPLE_RATE), max(2 * count, count + len(piece))), refcheck=False)
        waveform[count : count + len(piece)] = piece
        count += len(piece)
    return waveform


def audio_pieces(path: Path, duration: float, track: int | None = None) -> Iterator[np.ndarray]:
    """Iterate over what `read_audio` returns in pieces of (samples,), holding one at a time.

    track: as in `probe`. Raises as `read_audio` does, when it reaches the fault."""
    file = probe(path, track)
    wanted = round(duration * SAMPLE_RATE)
    count = 0
    for piece in _mixed(file, duration):
        piece = piece[: wanted - count]
        count += len(piece)
        if len(piece):
            yield piece
    if count < wanted:
        yield np.zeros(wanted - count, np.float32)


def _mixed(file: AudioFile, duration: float) -> Iterator[np.ndarray]:
    """Mix all tracks, which may differ in length: (samples,) float32 pieces at 16 kHz."""
    if len(file.tracks) == 1:
        yield from _at_16_khz(file, file.tracks[0], duration)
        return
    _refuse_short(file.path, file.duration, duration)
    sources = [_at_16_khz(file, track, min(duration, track.duration)) for track in file.tracks]
    waiting = [np.zeros(0, np.float32) for _ in sources]
    going = set(range(len(sources)))
    while going:
        for number in list(going):
            while number in going and not len(waiting[number]):
                piece = next(sources[number], None)
                if piece is None:
                    going.discard(number)
                else:
                    waiting[number] = piece
        length = min((len(waiting[number]) for number in going), default=0)
        if length:
            mix = np.zeros(length, np.float32)
            for number in going:
                mix += waiting[number][:length]
                waiting[number] = waiting[number][length:]
            yield mix / len(sources)


def _at_16_khz(file: AudioFile, track: Track, duration: float) -> Iterator[np.ndarray]:
    chunks = _sound(file, track, duration)
    for mono, rate in chunks:
        pieces = itertools.chain([mono], (piece for piece, _ in chunks))
        yield from pieces if rate == SAMPLE_RATE else resampled(pieces, rate)


def _sound(file: AudioFile, track: Track, duration: float) -> Iterator[_Chunk]:
    """Decode, mix the channels and check the samples, up to `duration`: (samples,) float32 pieces and the rate."""
    path = file.path
    chunks = _plain_chunks(path) if track.stream is None else _placed_chunks(file, track.stream)
    heard, rate = 0, 0
    with decoding(path), closing(chunks):
        for chunk, chunk_rate in chunks:
            rate = rate or usable_rate(path, chunk_rate)
            if chunk_rate != rate:
                raise CorpusError(
                    f"{path}: the sampling rate changes from {rate} to {chunk_rate} Hz within the file: "
                    "convert it to WAV or FLAC"
                )
            chosen = track.channel is not None and track.channel < len(chunk)
            wanted = math.ceil(duration * rate - 1e-6)  # a duration is a float: an excess of 1e-6 adds no sample
            mono = (chunk[track.channel] if chosen else chunk.mean(axis=0))[: wanted - heard]
            if not np.isfinite(mono).all():
                first = int(np.flatnonzero(~np.isfinite(mono))[0])
                raise CorpusError(
                    f"{path}: the sample at {(heard + first) / rate:.3f} s is {mono[first]}: NaN and infinite samples "
                    "cannot be processed, convert the file again from its source"
                )
            heard += len(mono)
            yield mono, rate
            if heard >= wanted:
                return
    _refuse_short(path, heard / (rate or SAMPLE_RATE), duration)


def _refuse_short(path: Path, seconds: float, duration: float) -> None:
    if seconds < duration - PADDING_TOLERANCE:
        raise CorpusError(
            f"{path}: {duration:.3f} s were announced and only {seconds:.3f} s could be decoded: "
            "the file is truncated, copy it again"
        )


def _plain_chunks(path: Path) -> Generator[_Chunk, None, None]:
    with soundfile.SoundFile(str(path)) as file:
        size = max(1, CHUNK // file.channels)
        while len(samples := file.read(size, dtype="float32", always_2d=True)):  # (samples, channels)
            yield samples.T, file.samplerate


def _placed_chunks(file: AudioFile, stream: int) -> Generator[_Chunk, None, None]:
    with opened(file.path, file.options) as container:
        reader = Reader(container, stream)
        begun = False
        for silent, piece in reader.timeline().place(reader.decoded()):
            assert piece.sound is not None
            if not begun:
                silent += round(reader.lead * piece.rate)
                begun = True
            channels = len(piece.sound)
            for start in range(0, silent, CHUNK):
                yield np.zeros((channels, min(CHUNK, silent - start)), np.float32), piece.rate
            yield piece.sound, piece.rate
