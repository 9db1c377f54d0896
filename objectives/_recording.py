"""From what a source found to a Recording: the checks that every source shares."""

from pathlib import Path

from pyannote.core import Annotation, Segment, Timeline

from objectives._audio import probe
from objectives._merging import count, merged
from objectives._rttm import Written, uncovered_channels
from objectives.collar import COLLAR, speech_outside_collar
from objectives.corpus import Recording
from objectives.errors import CorpusError, quoted

# A reference may end this much after the audio, as rounding and codec frames make it; the excess is cut off
END_TOLERANCE = 0.05  # seconds


def make_recording(
    uri: str,
    audio: Path,
    written: Written[Annotation],
    parts: Written[Timeline] | None,
    *,
    origin: Path | str,
    ends_where_annotated: bool = False,
) -> Recording:
    """Check a reference against its audio and build the recording.

    written: the reference. parts: those that are annotated; None where nothing says so: then all of the audio is.
    origin: where the reference is from, for messages.
    ends_where_annotated: the recording ends where its annotation does; the rest of the file is never read.

    Raises CorpusError where the audio is empty or unreadable, where a turn or an annotated part ends more than 0.05 s
    after the audio, or where nobody speaks inside the annotated parts.
    """
    file = probe(audio)
    duration = file.duration
    reference = merged(written.content)
    merged_turns = count(written.content) - count(reference)
    annotated = Timeline([Segment(0.0, duration)], uri=uri) if parts is None else parts.content
    for part in annotated:
        if part.end > duration + END_TOLERANCE:
            raise CorpusError(
                f"{uri}: the UEM says that {audio} is annotated to {_seconds(part.end)}, and it ends at "
                f"{duration:.3f} s: correct the UEM or the audio"
            )
    if ends_where_annotated:
        duration = min(duration, annotated.extent().end)
    _refuse_turns_past_end(uri, audio, reference, duration, origin)
    heard = Timeline([Segment(0.0, duration)], uri=uri)
    reference = reference.crop(heard, mode="intersection")
    annotated = annotated.crop(heard, mode="intersection").support()
    if not reference.crop(annotated, mode="intersection"):
        raise CorpusError(
            f"{origin}: nobody speaks in the annotated part of {uri!r} ({annotated.duration():.3f} s), so its error "
            "rate is undefined: remove the recording, or correct its RTTM or UEM"
        )
    reference.uri = annotated.uri = uri
    remarks = [*file.remarks, *written.remarks]
    if parts is not None:
        remarks += [*parts.remarks, *uncovered_channels(written, parts)]
    if speech_outside_collar(reference, annotated) == 0:
        remarks.append(
            f"nothing of it is scored: all its speech lies within {COLLAR / 2} s of where a turn begins or ends"
        )
    return Recording(uri, audio, duration, reference, annotated, tuple(remarks), merged_turns)


def _refuse_turns_past_end(uri: str, audio: Path, reference: Annotation, duration: float, origin: Path | str) -> None:
    for turn, _, speaker in reference.itertracks(yield_label=True):
        if turn.end > duration + END_TOLERANCE:
            raise CorpusError(
                f"{origin}: {uri!r}: a turn of {quoted(speaker)[1:-1]} from {_seconds(turn.start)} to "
                f"{_seconds(turn.end)} lies past the end of the audio ({duration:.3f} s, {audio}): correct the RTTM, "
                "or use the audio that it was written for"
            )


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 1e9 else f"{value:g} s"
