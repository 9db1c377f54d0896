"""The channel of a simulated conversation: noise at a given ratio, and a telephone line."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from scipy.linalg import solve_toeplitz
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from objectives.corpora.audio.inspection import probe_duration
from objectives.corpora.audio.reading import read_audio
from objectives.corpora.folder import audio_below
from objectives.errors import CorpusError
from objectives.models.contract import SAMPLE_RATE

Band = Literal["wide", "telephone"]
NoiseKind = Literal["pink", "speech-shaped"]
TELEPHONE_RATE = 8000  # Hz
ORDER = 20  # of the all-pole filter that shapes noise like speech
# Pink within half a dB from 30 Hz up: the three-pole filter of J. O. Smith, "Spectral Audio Signal Processing" (2011)
_PINK = ([0.049922035, -0.095993537, 0.050612699, -0.004408786], [1.0, -2.494956002, 2.017265875, -0.522189400])
BAND = (300.0, 3400.0)  # Hz
_BAND_PASS = butter(4, BAND, btype="bandpass", fs=SAMPLE_RATE, output="sos")


@dataclass(frozen=True)
class NoiseFolder:
    """A user's folder of noise recordings."""

    folder: Path
    files: tuple[Path, ...]

    def as_json(self) -> Mapping[str, str | Sequence[str]]:
        """Describe the folder as JSON: its name, its files by relative name, and a SHA-256 over names and contents.

        Raises CorpusError if a file cannot be read.
        """
        names = [path.relative_to(self.folder).as_posix() for path in self.files]
        every = hashlib.sha256()
        for name, path in zip(names, self.files, strict=True):
            try:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise CorpusError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error
            every.update(f"{content} {name}\n".encode())
        return {"name": self.folder.resolve().name, "files": names, "sha256": every.hexdigest()}


def noise_folder(folder: Path) -> NoiseFolder:
    """Return all audio below a folder. Raises CorpusError if there is none, or if a name is not UTF-8."""
    files = tuple(audio_below(folder))
    if not files:
        raise CorpusError(f"{folder}: holds no audio: give a folder of recordings of noise, or leave --noise-dir out")
    return NoiseFolder(folder, files)


def heard_through(
    clean: np.ndarray, active: np.ndarray, noise: np.ndarray | None, snr: float | None, band: Band
) -> np.ndarray:
    """Apply the channel: (samples,) float32 → the same shape.

    active: (samples,) bool, whether somebody speaks. snr: dB of speech over noise in the active samples, within the
    band. Raises CorpusError if the noise is silent in the active samples, so that the ratio is undefined.
    """
    if band == "telephone":
        clean = sosfilt(_BAND_PASS, clean).astype(np.float32)
        noise = None if noise is None else sosfilt(_BAND_PASS, noise).astype(np.float32)
    if noise is not None and snr is not None:
        power = _power(noise[active])
        if power <= 0.0:
            raise CorpusError("the noise is silent where somebody speaks: take louder recordings of noise")
        clean = clean + noise * np.float32(np.sqrt(_power(clean[active]) / power / 10 ** (snr / 10)))
    return _through_g711(clean) if band == "telephone" else clean


def made_noise(kind: NoiseKind, clean: np.ndarray, active: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate noise, (samples,) float32: pink, or with the long-term spectrum of the `active` speech."""
    white = random.standard_normal(len(clean), dtype=np.float32)
    if kind == "pink":
        return lfilter(*_PINK, white).astype(np.float32)
    spoken = clean[active].astype(np.float64)
    lags = np.array([np.dot(spoken[: len(spoken) - lag], spoken[lag:]) for lag in range(ORDER + 1)])
    lags[0] *= 1.0 + 1e-6  # keeps the poles off the unit circle if a band is silent
    poles = solve_toeplitz(lags[:-1], lags[1:])
    return lfilter([1.0], np.concatenate([[1.0], -poles]), white).astype(np.float32)


def recorded_noise(noise: NoiseFolder, samples: int, random: np.random.Generator) -> np.ndarray:
    """Cut noise from a random place in a random file of the folder, repeated if too short: (samples,) float32.

    Raises CorpusError if the file cannot be read.
    """
    path = noise.files[random.integers(len(noise.files))]
    whole = round(probe_duration(path) * SAMPLE_RATE)
    first = int(random.integers(max(1, whole - samples + 1)))
    return np.resize(read_audio(path, min(whole, first + samples) / SAMPLE_RATE)[first:], samples)


def as_16_bits(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Convert to (samples,) int16. Also returns the gain in dB, 0 or less, that avoided clipping."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    gain = min(1.0, 0.99 / peak) if peak else 1.0
    return np.round(samples * (gain * 32767.0)).astype(np.int16), 20.0 * float(np.log10(gain))


def _through_g711(samples: np.ndarray) -> np.ndarray:
    """Resample to 8 kHz, encode and decode as 8-bit μ-law (libsndfile's G.711), and resample back."""
    narrow = resample_poly(samples, TELEPHONE_RATE, SAMPLE_RATE).astype(np.float32)
    coded = io.BytesIO()
    how = {"samplerate": TELEPHONE_RATE, "subtype": "ULAW", "format": "RAW"}
    soundfile.write(coded, np.clip(narrow, -1.0, 1.0), **how)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, channels=1, dtype="float32", **how)
    wide: np.ndarray = resample_poly(decoded, SAMPLE_RATE, TELEPHONE_RATE)[: len(samples)]
    return np.pad(wide, (0, len(samples) - len(wide))).astype(np.float32)


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


GAIN = (-12.0, 6.0)  # dB
NOISE = (10.0, 30.0)  # dB of signal over noise
OFTEN = 0.5  # probability of noise, and of the telephone band


def augmented(window: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Augment a window with random band, noise and gain: (samples,) float32 → the same shape."""
    if random.random() < OFTEN:
        window = sosfilt(_BAND_PASS, window)
    if random.random() < OFTEN:
        power = float(np.mean(np.square(window)))
        noise = random.standard_normal(len(window)) * np.sqrt(power / 10 ** (random.uniform(*NOISE) / 10))
        window = window + noise
    return np.asarray(window * 10 ** (random.uniform(*GAIN) / 20), np.float32)
