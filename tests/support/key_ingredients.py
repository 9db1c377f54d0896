"""What keys and fingerprints are made of, for tests that change one thing at a time.

A key that forgets something serves what was made from something else.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyannote.core import Annotation, Segment, Timeline

from objectives.corpora.corpus import Recording
from tests.support.corpora import tone, write_audio

RECORDING = {
    "uri": "one", "frequency": 440.0, "duration": 2.0, "start": 0.5, "end": 1.5, "speaker": "ana",
    "annotated_from": 0.0, "annotated_to": 2.0,
}  # fmt: skip
OTHER_RECORDING = {
    "uri": "two", "frequency": 220.0, "duration": 1.9, "start": 0.4, "end": 1.4, "speaker": "bea",
    "annotated_from": 0.1, "annotated_to": 1.8,
}  # fmt: skip


def recording_of(
    folder: Path,
    uri: str,
    frequency: float,
    duration: float,
    start: float,
    end: float,
    speaker: str,
    annotated_from: float,
    annotated_to: float,
) -> Recording:
    """A recording of one turn whose audio is a tone."""
    audio = folder / f"{frequency:g}.wav"
    if not audio.exists():
        write_audio(audio, tone(2.0, frequency=frequency))
    reference = Annotation()
    reference[Segment(start, end)] = speaker
    return Recording(uri, audio, duration, reference, Timeline([Segment(annotated_from, annotated_to)]))


def fields_of(kind: Any) -> set[str]:
    """Names of a dataclass's fields that count in ==: one that is added later has to be given another value."""
    return {field.name for field in dataclasses.fields(kind) if field.compare}


def assert_each_counts(key: Callable[..., object], known: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """The same ingredients give the same key, and each other one another, no two alike."""
    assert others.keys() <= known.keys()
    keys = {"known": key(**known)} | {name: key(**{**known, name: other}) for name, other in others.items()}
    assert key(**known) == keys["known"]
    same = [(one, two) for one in keys for two in keys if one < two and keys[one] == keys[two]]
    assert not same, f"these make no difference: {same}"
