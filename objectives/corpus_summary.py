"""What a corpus holds, in figures: per recording, and per split."""

from dataclasses import dataclass

from pyannote.core import Annotation

from objectives.corpus import Corpus, Recording, is_local_name


@dataclass(frozen=True)
class SpeechSummary:
    """One recording, or all of one split (`uri` None).

    duration, annotated, speech: seconds; speech counts only where annotated, and once where several speak.
    overlap: seconds of that speech in which at least two speak. speakers: heard in the annotated part.
    """

    uri: str | None
    split: str
    recordings: int
    duration: float
    annotated: float
    speakers: int
    speech: float
    overlap: float

    @property
    def overlap_share(self) -> float:
        """Overlap as a share of speech, 0 … 1; 0 where nobody speaks."""
        return self.overlap / self.speech if self.speech else 0.0


def summarize_recording(recording: Recording, split: str) -> SpeechSummary:
    """Figures of one recording."""
    spoken = _spoken(recording)
    return SpeechSummary(
        uri=recording.uri,
        split=split,
        recordings=1,
        duration=recording.duration,
        annotated=recording.annotated.duration(),
        speakers=len(spoken.labels()),
        speech=float(spoken.get_timeline().support().duration()),
        overlap=float(spoken.get_overlap().duration()),
    )


def summarize_recordings(corpus: Corpus) -> tuple[SpeechSummary, ...]:
    """Figures of each recording, split by split, in the corpus's order."""
    return tuple(
        summarize_recording(recording, split) for split, recordings in corpus.splits.items() for recording in recordings
    )


def summarize_splits(corpus: Corpus) -> tuple[SpeechSummary, ...]:
    """Figures of each split that has recordings.

    Speakers of equal names in two recordings are one, unless the name is only local to a recording (speaker_01).
    """
    return tuple(_total(split, recordings) for split, recordings in corpus.splits.items() if recordings)


def _total(split: str, recordings: tuple[Recording, ...]) -> SpeechSummary:
    members = [summarize_recording(recording, split) for recording in recordings]
    speakers = {
        (recording.uri if is_local_name(name) else "", name)
        for recording in recordings
        for name in _spoken(recording).labels()
    }
    return SpeechSummary(
        uri=None,
        split=split,
        recordings=len(members),
        duration=sum(member.duration for member in members),
        annotated=sum(member.annotated for member in members),
        speakers=len(speakers),
        speech=sum(member.speech for member in members),
        overlap=sum(member.overlap for member in members),
    )


def _spoken(recording: Recording) -> Annotation:
    return recording.reference.crop(recording.annotated, mode="intersection")
