"""Single-speaker recordings that tests make: bursts of noise with known beginnings, instead of words."""

from pathlib import Path

import numpy as np

from tests.support.corpora import RATE, write_audio

Burst = tuple[float, float]  # start and end in seconds


def speech(seconds: float, bursts: list[Burst], seed: int = 0, level: float = 0.1) -> np.ndarray:
    """(samples,) float32: noise of a level in the bursts, 60 dB less elsewhere."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal(round(seconds * RATE)).astype(np.float32) * level
    loud = np.zeros(len(samples), bool)
    for start, end in bursts:
        loud[round(start * RATE) : round(end * RATE)] = True
    return np.where(loud, samples, samples * 1e-3).astype(np.float32)


def write_voices(folder: Path, people: int, seconds: float = 20.0, suffix: str = ".wav") -> Path:
    """A folder for each person, `p00`, `p01`, … with two recordings of bursts of 1.4 s, 0.6 s between them."""
    bursts = [(start, start + 1.4) for start in np.arange(0.3, seconds - 1.5, 2.0).tolist()]
    for person in range(people):
        for number in range(2):
            sound = speech(seconds, bursts, seed=10 * person + number)
            write_audio(folder / f"p{person:02d}" / f"{number}{suffix}", sound)
    return folder
