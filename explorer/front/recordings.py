"""What each recording contributed to a trial's DER, as typed values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RecordingErrors:
    """Errors of one recording, in percent of its scored speech (None if none was scored) and in seconds."""

    recording: str
    der: float | None
    false_alarm: float | None
    missed_detection: float | None
    confusion: float | None
    false_alarm_seconds: float
    missed_detection_seconds: float
    confusion_seconds: float
    total_seconds: float


def by_recording(attribute: Mapping[str, Mapping[str, Any]]) -> tuple[RecordingErrors, ...]:
    """Return the trial attribute `recordings`, highest DER first, recordings without scored speech last."""
    found = [RecordingErrors(recording=uri, **errors) for uri, errors in attribute.items()]
    return tuple(sorted(found, key=lambda one: (one.der is None, -(one.der or 0.0), one.recording)))
