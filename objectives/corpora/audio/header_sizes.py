"""Compare the announced and the actual size of the audio in a WAV, AIFF, W64, CAF, AU or NIST SPHERE file.

Decoders silently use the smaller of the two.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

# bytes: programs that write to a pipe cannot know the size, and announce this much or more, or 0
OPEN_END = 2**31 - 2**12
SLACK = 256  # bytes of difference that are normal: a tag, an incomplete block, a header that counts itself
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_AU_UNKNOWN = 2**32 - 1


@dataclass(frozen=True)
class Sizes:
    """Sizes of the audio in bytes.

    announced: by the header; None if it leaves the size open. there: up to the end of the file, without tags. beyond:
    whether a decoder can read beyond the announced size."""

    announced: int | None
    there: int
    beyond: bool = True

    @property
    def cut(self) -> bool:
        """Whether the file holds less than its header announces."""
        return self.announced is not None and self.announced > self.there + SLACK

    @property
    def longer(self) -> bool:
        """Whether the file holds more than its header announces."""
        return self.announced is not None and self.there > self.announced + SLACK


def sound_sizes(path: Path) -> Sizes | None:
    """Read the sizes; None for other formats and for broken headers, which a decoder will report.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _by_format(file)
        except (struct.error, ValueError):
            return None


def _by_format(file: BinaryIO) -> Sizes | None:
    head = file.read(16)
    size = file.seek(0, io.SEEK_END)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        order = ">" if head[:4] == b"RIFX" else "<"
        return _chunked(_Chunks(file, size, 12, f"{order}4sI", even=2), b"data", may_be_open=True)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunked(_Chunks(file, size, 12, ">4sI", even=2), b"SSND", beyond=False)
    if head == _W64_RIFF:
        return _chunked(_Chunks(file, size, 40, "<16sQ", even=8, counts_itself=True), b"data", beyond=False)
    if head[:4] == b"caff":
        return _chunked(_Chunks(file, size, 8, ">4sQ", even=1), b"data", may_be_open=True, beyond=False)
    if head[:4] == b".snd":
        start, announced = struct.unpack(">II", head[4:12])
        return Sizes(None if announced == _AU_UNKNOWN else announced, size - start)
    if head[:7] == b"NIST_1A":
        return _nist(file, size)
    return None


@dataclass(frozen=True)
class _Chunks:
    """Named chunks in a row, as in RIFF and similar formats. form: struct format of a chunk's name and size."""

    file: BinaryIO
    size: int  # of the file
    first: int
    form: str
    even: int  # chunks start at multiples of this
    counts_itself: bool = False

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over name, offset and announced size of each chunk, up to the first invalid one."""
        at, head = self.first, struct.calcsize(self.form)
        while at + head <= self.size:
            self.file.seek(at)
            name, length = struct.unpack(self.form, self.file.read(head))
            if self.counts_itself:
                length -= head
            if length < 0 or not all(32 <= letter < 127 for letter in name[:4]):
                return
            yield name[:4], at + head, length
            at += head + -(-length // self.even) * self.even

    def follow(self, at: int) -> bool:
        """Return whether valid chunks, and nothing else, fill the file from an offset to its end."""
        end = at = -(-at // self.even) * self.even
        head = struct.calcsize(self.form)
        for _, start, length in replace(self, first=at):
            end = start + -(-length // self.even) * self.even
        return end > at and self.size - head <= end <= self.size + self.even


def _chunked(chunks: _Chunks, wanted: bytes, *, may_be_open: bool = False, beyond: bool = True) -> Sizes | None:
    long_size = None
    for name, start, length in chunks:
        if name == b"ds64":  # RF64: sizes beyond 32 bits
            chunks.file.seek(start + 8)
            (long_size,) = struct.unpack("<Q", chunks.file.read(8))
        if name == wanted:
            there = chunks.size - start
            if long_size is not None and length >= 2**32 - 1:
                length = long_size
            open_end = OPEN_END if long_size is None else 2**63 - 1
            if may_be_open and (length == 0 or (length > there and length >= open_end)):
                return Sizes(None, there)
            if length < there and (_tagged(chunks.file, start + length) or chunks.follow(start + length)):
                return Sizes(length, length)
            return Sizes(length, there, beyond)
    return None


def _tagged(file: BinaryIO, at: int) -> bool:
    """Return whether an ID3 tag follows, which tag editors append."""
    file.seek(at)
    return file.read(4).lstrip(b"\x00")[:3] in (b"ID3", b"TAG")


def _nist(file: BinaryIO, size: int) -> Sizes | None:
    file.seek(8)
    start = int(file.read(8))
    file.seek(0)
    fields = dict(line.split(None, 2)[::2] for line in file.read(start).decode("latin-1").splitlines() if " -" in line)
    if fields.get("sample_coding", "pcm") not in ("pcm", "ulaw", "mu-law", "alaw"):
        return None  # compressed, so that the size says nothing about the length
    width = int(fields.get("sample_n_bytes", 1)) * int(fields.get("channel_count", 1))
    return Sizes(int(fields["sample_count"]) * width, size - start)
