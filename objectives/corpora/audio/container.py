"""Decode files with FFmpeg through PyAV, each piece of audio with its time stamp.

Time stamps are used if the container has a clock (Matroska, MP4, Ogg, …); otherwise pieces follow one another. FFmpeg
cuts off what an encoder inserts at the start (priming, pre-skip), so that counts neither as silence nor as a shift.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from objectives.corpora.audio.timeline import TOLERANCE, Stamped, Timeline

# FFmpeg's names of containers with a clock. Except in broadcast streams, a player starts at its zero
_CLOCKED = ("mov,", "matroska", "ogg", "flv", "live_flv", "asf", "mpegts", "mpeg", "nut", "rm", "wtv")
_BROADCAST = ("mpegts", "mpeg")
# AVI has a time stamp only at the start of a stream; FFmpeg counts the others, wrongly for MP3 of a variable bit rate
_COUNTED = ("avi",)
# containers whose header states the duration, so that truncated files are detected
_STATES_DURATION = ("mov,", "matroska", "asf", "flv")

_COUNTED_EXACTLY = ("mov,", "matroska", "ogg", "asf", "wav")

LIVE = 60.0  # seconds: a clock that starts later belongs to a stream that was recorded from its middle
# A time stamp may be off by half a block in Vorbis, and by a superframe in WMA
_VORBIS_TOLERANCE, _WMA_TOLERANCE = 0.02, 0.1  # seconds
# Codecs whose packets state how many samples they hold; for others, decoding is needed
_FRAMED = ("aac", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float")
_COUNTABLE = ("adpcm_", "flac", "alac", "ac3", "eac3", "amr", "gsm", "g72", "tta", "wavpack")
_UNCOUNTABLE = ("nut", "caf")  # containers: NUT does not state skipped samples, CAF rounds the last packet up
_OPUS_MS = (10, 20, 40, 60) * 3 + (10, 20) * 2 + (2.5, 5, 10, 20) * 4  # by configuration (RFC 6716, 3.1)

CHECKED = 3  # packets whose duration is compared with their samples; the last one of a file may state less
EXCERPT = (60.0, 20.0, 2.0)  # seconds: the first minute, then two of every twenty


class UncountableError(Exception):
    """Raised if packets do not state how many samples they hold."""


class NoAudioError(Exception):
    """Raised for a file without an audio stream."""


@dataclass(frozen=True)
class Header:
    """The header of a file.

    clock: seconds on the file's clock at the player's zero. streams: indices of the audio streams that can be decoded.
    unknown: number of other audio streams. tuned_into: whether the file is a stream that was recorded from its middle.
    """

    format: str
    clock: float
    streams: tuple[int, ...]
    unknown: int
    tuned_into: bool


@contextmanager
def opened(path: Path, options: Mapping[str, str]) -> "Iterator[av.container.InputContainer]":
    """Open a file with FFmpeg, without any other file that it may refer to. Raises av.FFmpegError."""
    allowed = {"protocol_whitelist": "file", **options}
    # titles and the like are often not UTF-8, and are not used
    with av.open(f"file:{path}", options=allowed, metadata_errors="replace") as container:
        yield container


def header(container: "av.container.InputContainer") -> Header:
    """Read the header. Raises NoAudioError if no audio stream can be decoded."""
    known = [stream for stream in container.streams.audio if cast(Any, stream).codec_context is not None]
    streams = tuple(stream.index for stream in known)
    if not streams:
        raise NoAudioError
    name = container.format.name
    starts = (container.start_time or 0) / av.time_base
    tuned_into = starts > LIVE and name.startswith(_CLOCKED) and not name.startswith(_BROADCAST)
    clock = starts if tuned_into or name.startswith(_BROADCAST) else 0.0
    return Header(name, clock, streams, len(container.streams.audio) - len(streams), tuned_into)


class Reader:
    """One audio stream of an open file, read once.

    channels: their number. announced: end of the stream, or else of the whole file, in seconds on the file's clock, as
    the header states it; None if it does not. states_stream: whether that is the stream's own end, exact to the sample
    (MP4's edit lists). summed: whether the duration is a floating-point sum over pieces, which fingerprints of corpora
    depend on. lead: seconds from the player's zero to the first sample. reached: end of
    the last packet so far, of any stream that is read, in seconds on the file's clock. primed: seconds before zero at
    which the first packet began. The last three are valid after the first piece.
    """

    def __init__(self, container: "av.container.InputContainer", index: int, *, alone: bool = True) -> None:
        """alone: whether packets of other streams are skipped."""
        self._container = container
        self._stream = cast(Any, container.streams[index])
        self._header = header(container)
        self._alone = alone
        self._codec = str(self._stream.codec_context.name)
        self._wma = self._codec.startswith("wma")
        self._started = False
        self.lead = self.reached = self.primed = 0.0
        self.channels = int(self._stream.codec_context.layout.nb_channels)
        self.summed = not self._header.format.startswith(_COUNTED_EXACTLY)
        self.states_stream = self._header.format.startswith("mov,")
        self.announced = self._announced()

    def _announced(self) -> float | None:
        if self.states_stream and self._stream.duration is not None:
            return float((max(0, self._stream.start_time or 0) + self._stream.duration) * self._stream.time_base)
        stated = self._header.format.startswith(_STATES_DURATION) and not self.states_stream
        return self._container.duration / av.time_base if stated and self._container.duration is not None else None

    def timeline(self) -> Timeline:
        """Return an empty timeline with the tolerance of this stream's codec."""
        allowed = _WMA_TOLERANCE if self._wma else _VORBIS_TOLERANCE if self._codec == "vorbis" else TOLERANCE
        return Timeline(allowed)

    def decoded(self) -> Iterator[Stamped]:
        """Decode the pieces, at the file's rate and with its channels. Raises av.FFmpegError."""
        convert, begins, believed = _Floats(), False, not self._wma
        for packet, anew in self._packets():
            begins = begins or anew
            if anew and self._codec == "vorbis":  # otherwise its first block would overlap the one before it
                self._stream.codec_context.flush_buffers()
            frames = packet.decode()
            if not self._started and packet.size:
                self._start(packet, frames)
            for frame in frames:
                # the first WMA packet decodes to less than it holds, so that later stamps seem late
                trusted = believed and not begins  # the first packet of a link may still have the previous clock
                yield from convert(frame, self._seconds(frame.pts, frame.time_base) if trusted else None, begins)
                begins, believed = False, True

    def counted(self) -> Iterator[Stamped]:
        """Return the same pieces without samples or decoding.

        Raises UncountableError if the packets do not state their lengths."""
        length = self._length()
        rate = self._stream.codec_context.sample_rate
        to_skip = checked = 0
        for packet, anew in self._packets():
            if not self._started and packet.size:
                self._start(packet, packet.decode())
            if not packet.size or packet.is_discard:
                continue
            start, end = _skipped(packet)
            to_skip += start
            samples = length(packet)
            if checked < CHECKED and packet.duration and self._codec in _FRAMED:
                checked += 1
                if abs(packet.duration * packet.time_base - Fraction(samples, rate)) > 1.5 * packet.time_base:
                    raise UncountableError  # such as AAC with SBR that FFmpeg detects late
            skipped = min(to_skip, samples)
            to_skip -= skipped
            left = max(0, samples - skipped - end)
            stamp = self._seconds(packet.pts, packet.time_base) if left and not anew else None
            yield Stamped(None if stamp is None else stamp + skipped / rate, left, rate, anew=anew)

    def excerpts(self) -> Iterator[np.ndarray]:
        """Decode the first minute and two of every further twenty seconds: (channels, samples) float32."""
        convert = _Floats()
        first, every, some = EXCERPT
        for packet, _ in self._packets():
            second = packet.pts * packet.time_base if packet.pts is not None else 0.0
            if second < first or second % every < some:
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    continue  # depends on packets that were skipped
                for frame in frames:
                    yield from (piece.sound for piece in convert(frame, None) if piece.sound is not None)

    def _packets(self) -> Iterator[tuple[Any, bool]]:
        """Iterate over the packets of the stream, and whether the clock restarts with each.

        It does in chained Ogg files, which are several files in a row."""
        chained = self._header.format == "ogg"
        first, last = True, None
        for packet in self._container.demux(*((self._stream,) if self._alone else ())):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.reached = max(self.reached, end)
            if packet.stream_index != self._stream.index:
                continue
            anew = False
            if packet.size:
                anew = not first and chained and _begins_a_link(packet, last)
                last = None if anew else packet.pts if packet.pts is not None else last
                first = False
            yield packet, anew

    def _start(self, packet: Any, frames: list[Any]) -> None:
        """Set `primed` and `lead` from the first packet and its decoded frames."""
        self._started = True
        if packet.pts is None:
            return
        self.primed = max(0.0, -float(packet.pts * packet.time_base))
        if not self._header.format.startswith(_CLOCKED + _COUNTED):
            return
        stamp = float(packet.pts * packet.time_base) - self._header.clock
        if abs(stamp) <= TOLERANCE:  # some containers' first stamp does not include skipped samples
            return
        if frames and frames[0].pts is not None:
            lead = float(frames[0].pts * frames[0].time_base) - self._header.clock
        else:
            lead = stamp + _skipped(packet)[0] / self._stream.codec_context.sample_rate
        self.lead = lead if lead > TOLERANCE else 0.0

    def _seconds(self, pts: int | None, time_base: Any) -> float | None:
        if pts is None or not self._header.format.startswith(_CLOCKED):
            return None
        return float(pts * time_base)

    def _length(self) -> Callable[[Any], int]:
        context = self._stream.codec_context
        rate, size, base = context.sample_rate, context.frame_size, self._stream.time_base
        if not rate or base is None or self._header.format in _UNCOUNTABLE:
            raise UncountableError
        if context.name in ("opus", "libopus"):
            return _opus_length
        if context.name in _FRAMED and size:
            return lambda packet: size
        if context.name.startswith(_COUNTABLE) and (1 / base / rate).denominator == 1:
            return lambda packet: round((packet.duration or 0) * base * rate)
        raise UncountableError


class _Floats:
    """Convert frames of any format and layout to planar float32."""

    def __init__(self) -> None:
        self._converter: av.AudioResampler | None = None
        self._format: tuple[object, ...] = ()

    def __call__(self, frame: Any, stamp: float | None, anew: bool = False) -> Iterator[Stamped]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or form != self._format:
            self._converter = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            self._format = form
        for number, made in enumerate(self._converter.resample(frame)):
            sound = made.to_ndarray()  # (channels, samples)
            yield Stamped(stamp if number == 0 else None, sound.shape[1], made.sample_rate, sound, anew and number == 0)


def _begins_a_link(packet: Any, last: int | None) -> bool:
    if last is not None and packet.pts is not None and packet.pts < last:
        return True
    return any(data.data_type in ("strings_metadata", "new_extradata") for data in packet.iter_sidedata())


def _skipped(packet: Any) -> tuple[int, int]:
    """Return the number of samples that the decoder cuts off at the start and at the end."""
    for data in packet.iter_sidedata():
        if data.data_type == "skip_samples":
            start, end = struct.unpack("<II", bytes(data)[:8])
            return start, end
    return 0, 0


def _opus_length(packet: Any) -> int:
    """Return the samples of an Opus packet at 48 kHz (RFC 6716, 3.1 and 3.2)."""
    head = bytes(packet)[:2]
    frames = (1, 2, 2, head[1] & 63 if len(head) > 1 else 0)[head[0] & 3]
    return round(frames * _OPUS_MS[head[0] >> 3] * 48)
