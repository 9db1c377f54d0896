"""What an operating point costs to run: size on disk, and the one timed region."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Timing:
    """Real-time factors of one operating point, repeat by repeat, each beside the FP32 baseline's of the same breath.

    rtf, baseline_rtf: seconds of compute per second of audio, one value a repeat, in the order of measuring.
    """

    rtf: tuple[float, ...]
    baseline_rtf: tuple[float, ...]
    threads: int

    @property
    def median(self) -> float:
        """Median RTF."""
        return median(self.rtf)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest RTF of the repeats."""
        return min(self.rtf), max(self.rtf)

    @property
    def ratio(self) -> float:
        """Median of RTF over the baseline's RTF of the same repeat: a machine that drifts cancels out."""
        return median(own / base for own, base in zip(self.rtf, self.baseline_rtf, strict=True))
