"""Inspect an audio file before reading it: its duration, tracks and channels, and the library that decodes it."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile

from objectives.corpora.audio.channels import cancelling
from objectives.corpora.audio.container import EXCERPT, NoAudioError, Reader, UncountableError, header, opened
from objectives.corpora.audio.header_sizes import Sizes, sound_sizes
from objectives.corpora.audio.timeline import ClockError, Timeline
from objectives.errors import CorpusError, reason_of

# Codecs round the end of a file to whole frames; if less than this is missing, it is filled with zeros
PADDING_TOLERANCE = 0.1  # seconds
PADDED = 0.3  # seconds by which the last frame may exceed the announced end

RATES = (4000, 384_000)  # Hz: other rates come from damaged headers, and a filter for them would need too much memory
MOST_FRAMES = 2**48  # headers with an unknown length announce more
CHUNK = 2**20  # samples, over all channels, that are decoded at once

# Formats that soundfile reads exactly, with the exact length
_PLAIN_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")
_PLAIN_SAMPLES = (
    *("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"),
    *("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"),
)


@dataclass(frozen=True)
class Track:
    """An audio track of a file.

    stream: its index in FFmpeg; None if soundfile reads the file. duration: seconds. channel: the one to use, from 0;
    None for the mean of all."""

    stream: int | None
    duration: float
    channel: int | None = None


@dataclass(frozen=True)
class AudioFile:
    """A readable audio file.

    duration: seconds of the longest track as decoded. tracks: those that are used, mixed if there are several. remarks:
    notes for users, in words, without the file's name. options: FFmpeg's, for this file.
    """

    path: Path
    tracks: tuple[Track, ...]
    remarks: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Seconds of the longest track."""
        return max((track.duration for track in self.tracks), default=0.0)


def probe(path: Path, track: int | None = None) -> AudioFile:
    """Inspect a file by its content: duration, tracks, remarks.

    All packets are read, but decoded only if they do not state their length. If there are several channels, the first
    minute and a tenth of the rest are decoded to see whether they cancel out. track: number of the only track to use,
    from 1; None mixes all.

    Raises CorpusError if the file is missing, empty, truncated, not audio or without that track, or if its clock cannot
    be followed.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise CorpusError(f"{path}: cannot open the audio ({error.strerror}): check the path") from error
    if status.st_size == 0:
        raise CorpusError(f"{path}: the audio is empty (0 bytes): replace the file or remove it from the corpus")
    return _probed(path, track, status.st_size, status.st_mtime_ns)


def probe_duration(path: Path) -> float:
    """Return the duration of an audio file as decoded, in seconds. Raises as `probe` does."""
    return probe(path).duration


@lru_cache(maxsize=256)
def _probed(path: Path, track: int | None, size: int, changed: int) -> AudioFile:
    """Cached: a file is inspected when a corpus is loaded and again whenever it is read."""
    try:
        sizes = sound_sizes(path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot open the audio ({error.strerror}): check its permissions") from error
    if sizes is not None and sizes.cut:
        raise CorpusError(
            f"{path}: its header announces {sizes.announced} bytes of sound and the file holds {sizes.there}: "
            "the file is truncated, copy it again"
        )
    with decoding(path):
        file = _plain(path, track, sizes) or _contained(path, track, sizes)
    if not file.duration > 0 and sizes is None:
        raise CorpusError(f"{path}: not readable as audio (no sound is found in it): replace the file, or remove it")
    if not file.duration > 0:
        raise CorpusError(f"{path}: the audio is empty (0 samples): replace the file or remove it from the corpus")
    return file


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn the errors of decoders inside the block into a CorpusError."""
    try:
        yield
    except NoAudioError as error:
        raise CorpusError(
            f"{path}: holds no audio stream that can be decoded: replace the file or remove it from the corpus"
        ) from error
    except ClockError as error:
        raise CorpusError(f"{path}: {error}: convert the file again from its source") from error
    except (soundfile.SoundFileError, av.FFmpegError) as error:
        raise CorpusError(
            f"{path}: not readable as audio ({reason_of(error)}): convert it to WAV or FLAC, or remove it"
        ) from error


def _check_track(path: Path, track: int | None, tracks: int) -> None:
    if track is not None and not 1 <= track <= tracks:
        there = "one audio track" if tracks == 1 else f"{tracks} audio tracks"
        raise CorpusError(f"{path}: has no track {track}: it has {there}, give 1 to {tracks}, or leave --track out")


def usable_rate(path: Path, rate: int) -> int:
    """Return the rate, in Hz. Raises CorpusError if it is not plausible."""
    low, high = RATES
    if not low <= rate <= high:
        raise CorpusError(
            f"{path}: a sampling rate of {rate} Hz: use {low} to {high} Hz, or convert the file again from its source"
        )
    return rate


def _plain(path: Path, track: int | None, sizes: Sizes | None) -> AudioFile | None:
    """Inspect a file that soundfile reads exactly; None for others, and for files longer than announced."""
    if sizes is not None and (sizes.announced is None or (sizes.longer and sizes.beyond)):
        return None
    try:
        info = soundfile.info(str(path))
    except soundfile.SoundFileError:
        return None
    if info.format not in _PLAIN_FORMATS or info.subtype not in _PLAIN_SAMPLES or not 0 < info.frames < MOST_FRAMES:
        return None
    _check_track(path, track, 1)
    duration = info.frames / usable_rate(path, info.samplerate)
    channel, remarks = _one_channel(_plain_excerpts(path) if info.channels > 1 else ())
    if sizes is not None and sizes.longer:
        heard = "heard as well" if info.format == "W64" else "not heard"
        remarks += (f"what follows after the length that its header announces is {heard}",)
    return AudioFile(path, (Track(None, duration, channel),), remarks)


def _contained(path: Path, chosen: int | None, sizes: Sizes | None) -> AudioFile:
    to_the_end = sizes is not None and (sizes.announced is None or sizes.longer)
    options = {"ignore_length": "1"} if to_the_end else {}
    with opened(path, options) as container:
        head = header(container)
        several = len(container.streams) > 1
        estimate = (container.duration or 0) / av.time_base
    _check_track(path, chosen, len(head.streams))
    heard = head.streams if chosen is None else (head.streams[chosen - 1],)
    tracks, remarks = [], []
    for number, stream in enumerate(heard, start=chosen or 1):
        track, said = _track(path, stream, options, head.clock, alone=not several)
        if track.duration > 0:
            tracks.append(track)
            remarks += said if len(heard) == 1 else [f"track {number}: {each}" for each in said]
    if sizes is not None and not options and tracks and tracks[0].duration < estimate / 2:
        raise CorpusError(
            f"{path}: {tracks[0].duration:.3f} s can be decoded of about {estimate:.3f} s: its sound is damaged, or in "
            "frames that WAV does not keep apart: convert the file again from its source"
        )
    if len(tracks) > 1:
        remarks.insert(0, f"its {len(tracks)} audio tracks are mixed into one")
    if head.unknown:
        remarks.append(f"{head.unknown} more audio tracks are in a codec that is not known, and not heard")
    if head.tuned_into:
        remarks.append(f"its clock begins at {head.clock:.0f} s, as a stream's: times are counted from there")
    if sizes is not None and sizes.longer and sizes.announced and tracks:
        announced = tracks[0].duration * sizes.announced / sizes.there
        remarks.append(f"its header announces {announced:.3f} s and it holds {tracks[0].duration:.3f} s: all is heard")
    return AudioFile(path, tuple(tracks), tuple(remarks), options)


def _track(
    path: Path, stream: int, options: Mapping[str, str], clock: float, *, alone: bool
) -> tuple[Track, list[str]]:
    try:
        duration, reader, timeline = _length(path, stream, options, decode=False, alone=alone)
    except UncountableError:
        duration, reader, timeline = _length(path, stream, options, decode=True, alone=alone)
    if reader.announced is not None:
        slack = PADDING_TOLERANCE + reader.primed
        if reader.announced > max(reader.reached, duration + clock) + slack:
            raise CorpusError(
                f"{path}: {reader.announced:.3f} s were announced and only {reader.reached:.3f} s are there: "
                "the file is truncated, copy it again"
            )
        if reader.states_stream and abs(reader.announced - clock - duration) < PADDED:
            duration = reader.announced - clock
    remarks = []
    if reader.lead:
        remarks.append(f"it begins with {reader.lead:.3f} s of silence, as its time stamps say")
    if timeline.pauses:
        gaps = "a gap" if timeline.pauses == 1 else f"{timeline.pauses} gaps"
        remarks.append(f"{timeline.silence:.2f} s in which nothing was sent ({gaps}) are silence")
    channel = None
    if reader.channels > 1:
        with opened(path, options) as container:
            channel, said = _one_channel(Reader(container, stream).excerpts())
        remarks += said
    return Track(stream, duration, channel), remarks


def _length(
    path: Path, stream: int, options: Mapping[str, str], *, decode: bool, alone: bool
) -> tuple[float, Reader, Timeline]:
    """Return the seconds on the player's time line, with the reader and timeline that measured them."""
    with opened(path, options) as container:
        reader = Reader(container, stream, alone=alone)
        timeline = reader.timeline()
        counts: dict[int, int] = defaultdict(int)  # by rate
        summed = 0.0
        for silent, piece in timeline.place(reader.decoded() if decode else reader.counted()):
            counts[usable_rate(path, piece.rate)] += silent + piece.samples
            summed += (silent + piece.samples) / piece.rate
        exact = sum(count / rate for rate, count in counts.items())
        return reader.lead + (summed if reader.summed else exact), reader, timeline


def _one_channel(excerpts: Iterable[np.ndarray]) -> tuple[int | None, tuple[str, ...]]:
    """Return the channel to use alone, with a remark; None and no remarks if the mean of all is used."""
    found = cancelling(excerpts)
    if found is None:
        return None, ()
    loudest, louder = found
    return loudest, (
        f"its channels cancel each other out (their mean is {min(louder, 99):.0f} dB quieter than the loudest, "
        f"channel {loudest + 1}): that one is heard alone",
    )


def _plain_excerpts(path: Path) -> Iterator[np.ndarray]:
    first, every, some = EXCERPT
    with soundfile.SoundFile(str(path)) as file:
        size = max(1, CHUNK // file.channels)
        rate = file.samplerate
        spans = itertools.chain(
            [(0, int(first * rate))],
            ((start, int(some * rate)) for start in range(int(first * rate), file.frames, int(every * rate))),
        )
        for start, length in spans:
            file.seek(start)
            for taken in range(0, length, size):
                yield file.read(min(size, length - taken), dtype="float32", always_2d=True).T
