"""Summarize a corpus in figures, per recording and per split."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from objectives.corpora.corpus import Corpus, Recording, Remark, is_local_name
from objectives.errors import ascii_controls, shortened


@dataclass(frozen=True)
class SpeechSummary:
    """One recording, or all of one split (`uri` None).

    duration, annotated, speech: seconds; speech counts only inside the annotated parts, and once if several speak at
    once. overlap: seconds of that speech in which at least two speak. speakers: number of speakers in the annotated
    part.
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
        """Overlap as a share of speech, 0 … 1; 0 if nobody speaks."""
        return self.overlap / self.speech if self.speech else 0.0


def summarize_recording(recording: Recording, split: str) -> SpeechSummary:
    """Summarize one recording."""
    return _summary(recording.uri, split, (recording,))


def summarize_recordings(corpus: Corpus) -> tuple[SpeechSummary, ...]:
    """Summarize each recording, split by split, in the corpus' order."""
    return tuple(_summary(one.uri, split, (one,)) for split, recordings in corpus.splits.items() for one in recordings)


def summarize_splits(corpus: Corpus) -> tuple[SpeechSummary, ...]:
    """Summarize each split that has recordings.

    Speakers with equal names in two recordings count as one, unless the name is local to a recording (speaker_01).
    """
    return tuple(_summary(None, split, recordings) for split, recordings in corpus.splits.items() if recordings)


def _summary(uri: str | None, split: str, recordings: tuple[Recording, ...]) -> SpeechSummary:
    spoken = {one.uri: one.reference.crop(one.annotated, mode="intersection") for one in recordings}
    names = {(of if is_local_name(name) else "", name) for of, turns in spoken.items() for name in turns.labels()}
    return SpeechSummary(
        uri=uri,
        split=split,
        recordings=len(recordings),
        duration=sum(one.duration for one in recordings),
        annotated=sum(one.annotated.duration() for one in recordings),
        speakers=len(names),
        speech=sum(float(turns.get_timeline().support().duration()) for turns in spoken.values()),
        overlap=sum(float(turns.get_overlap().duration()) for turns in spoken.values()),
    )


SHOWN = 3  # remarks of a kind in a brief summary
MOST_NAMED = 40  # characters of a name there


def in_brief(corpus: Corpus, typed: str) -> tuple[str, ...]:
    """Return a line for each kind of remark; none if the whole corpus is used as it is written.

    typed: the corpus as the user named it. Merged turns are only listed by `explorer corpus --check`.
    """
    kinds = ("recording", "file", "used")
    lost, files, used = ([remark for remark in corpus.remarks if remark.kind == kind] for kind in kinds)
    whole = sum(map(len, corpus.splits.values())) + len({remark.about for remark in lost})
    said = []
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        said.append(f"{len(lost)} of {whole} recordings {verb} not used: {_listed(lost)}")
    if files:
        noun = "file is" if len(files) == 1 else "files are"
        said.append(f"{len(files)} {noun} not used: {_listed(files)}")
    if used:
        said.append(_listed(used))
    cut = any(len(remarks) > SHOWN for remarks in (lost, files, used))
    return tuple([*said, f"`explorer corpus {ascii_controls(shlex.quote(typed))} --check` lists all"] if cut else said)


def _listed(remarks: Sequence[Remark]) -> str:
    shown = [f"{shortened(remark.about, MOST_NAMED)} ({remark.said})" for remark in remarks[:SHOWN]]
    more = [f"… {len(remarks) - SHOWN} more"] if len(remarks) > SHOWN else []
    return ascii_controls(", ".join([*shown, *more]))
