"""The stages of diarization that the cost plane tells apart (the paper asks for this isolation)."""

from collections.abc import Callable
from typing import Literal, get_args

# segmentation: the model and the powerset argmax. embedding: filterbank, frame-level features and their pooling.
# clustering: of the recording's speakers, and the naming of everybody. other: all the rest.
Stage = Literal["segmentation", "embedding", "clustering", "other"]
STAGES: tuple[Stage, ...] = get_args(Stage)
OnStage = Callable[[Stage], None]  # called when a stage has just ended


def unheeded(stage: Stage) -> None:
    """Nobody takes the time."""
