"""What a telephone line may do to a window: gain, noise, the telephone band."""

import numpy as np
from scipy.signal import butter, sosfilt

from objectives.contract import SAMPLE_RATE

GAIN = (-12.0, 6.0)  # dB
NOISE = (10.0, 30.0)  # dB of signal over noise
BAND = (300.0, 3400.0)  # Hz
OFTEN = 0.5  # of the windows, each of noise and band

_BAND_PASS = butter(4, BAND, btype="bandpass", fs=SAMPLE_RATE, output="sos")


def augmented(window: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(samples,) float32 → the same window as another line would have carried it."""
    if random.random() < OFTEN:
        window = sosfilt(_BAND_PASS, window)
    if random.random() < OFTEN:
        power = float(np.mean(np.square(window)))
        noise = random.standard_normal(len(window)) * np.sqrt(power / 10 ** (random.uniform(*NOISE) / 10))
        window = window + noise
    return np.asarray(window * 10 ** (random.uniform(*GAIN) / 20), np.float32)
