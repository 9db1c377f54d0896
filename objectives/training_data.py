"""What models may be made from: recordings of `train` and of `calib`, never those that are evaluated."""

from dataclasses import dataclass

from objectives.corpus import Corpus, Recording


@dataclass(frozen=True)
class TrainingData:
    """Recordings that recovery may learn from. Make it with `training_data`."""

    recordings: tuple[Recording, ...]


@dataclass(frozen=True)
class CalibrationData:
    """Recordings that activation ranges and choices between models may come from. Make it with `calibration_data`."""

    recordings: tuple[Recording, ...]


def training_data(corpus: Corpus) -> TrainingData:
    """The recordings of `train`."""
    return TrainingData(corpus.split("train"))


def calibration_data(corpus: Corpus) -> CalibrationData:
    """The recordings of `calib`."""
    return CalibrationData(corpus.split("calib"))
