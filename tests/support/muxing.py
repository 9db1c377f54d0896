"""Recordings as recorders leave them: packets lost, late or out of order, several tracks, files put together."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAME = 1024  # samples a codec is given at once, if it does not say

Move = Callable[[float], float | None]  # seconds of a packet → where it is put; None: it is lost


def clicks(seconds: float, at: Sequence[float], rate: int) -> np.ndarray:
    """(samples,) float32: a rounded burst of 1 kHz, 8 ms long, around each of these times; very soft noise between."""
    time = np.arange(round(seconds * rate)) / rate
    track = 1e-4 * np.random.default_rng(0).standard_normal(len(time))
    for place in at:
        track += 0.8 * np.exp(-(((time - place) / 0.002) ** 2)) * np.cos(2 * np.pi * 1000 * (time - place))
    return track.astype(np.float32)


def heard_at(waveform: np.ndarray, rate: int = 16_000) -> list[float]:
    """Where clicks are, in seconds: the middle of the energy around each peak."""
    power = np.square(waveform, dtype=np.float64)
    found = []
    reach = rate // 50
    while len(power) and power.max() > 0.05:
        peak = int(power.argmax())
        low, high = max(0, peak - reach), peak + reach
        found.append((low + float(np.average(np.arange(len(power[low:high])), weights=power[low:high]))) / rate)
        power[low:high] = 0
    return sorted(found)


def mux(
    path: Path,
    tracks: Sequence[np.ndarray],
    rate: int,
    codec: str,
    move: Move = lambda second: second,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode (samples,) tracks, one stream each, and put each packet where `move` says."""
    with av.open(str(path), "w", options=options or {}) as container:
        streams = [container.add_stream(codec, rate=rate, layout="mono") for _ in tracks]
        packets = []
        for stream, samples in zip(streams, tracks, strict=True):
            convert = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
            whole = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
            whole.sample_rate, whole.pts = rate, 0
            fifo = av.AudioFifo()
            for frame in convert.resample(whole):
                frame.pts, frame.time_base = 0, Fraction(1, rate)
                fifo.write(frame)
            stream.codec_context.open()
            size = stream.codec_context.frame_size or FRAME
            while fifo.samples:
                packets += stream.encode(fifo.read(size, partial=True))
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            place = move(float(packet.pts * packet.time_base))
            if place is not None:
                ticks = round((place - float(packet.pts * packet.time_base)) / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                container.mux(packet)
    return path
