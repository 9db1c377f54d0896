"""Turns of one speaker that touch or overlap are one, whoever looks (issue 16)."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline

from objectives.compression.training_windows import class_of_frames
from objectives.corpora.corpus import Recording
from objectives.corpora.simulation.speakers import spoken_alone
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import summarize_recording
from objectives.corpora.turns import merged, speech_outside_collar
from objectives.evaluation.oracle import ReferenceWindows
from objectives.evaluation.scoring import score
from tests.support.corpora import rttm, tone, write_audio, write_recording
from tests.support.sign_models import CONTRACT

Turns = list[tuple[float, float, str]]  # start, end, speaker

# ana in one turn of 8 s and bea in one of 4 s; 0.25 s on either side of 0, 8, 10 and 14 are not scored
#   ana  0 -------- 8
#   bea                10 ---- 14
PLAIN: Turns = [(0.0, 8.0, "ana"), (10.0, 14.0, "bea")]
WRITTEN_OTHERWISE: dict[str, Turns] = {
    "repeated": PLAIN + PLAIN,
    "touching": [(0.0, 3.0, "ana"), (3.0, 8.0, "ana"), (10.0, 14.0, "bea")],
    "overlapping": [(0.0, 5.0, "ana"), (4.0, 8.0, "ana"), (10.0, 13.0, "bea"), (10.5, 14.0, "bea")],
    "inside": [(0.0, 8.0, "ana"), (2.0, 3.0, "ana"), (10.0, 14.0, "bea")],
    "thrice": [(0.0, 8.0, "ana"), (0.0, 8.0, "ana"), (0.0, 8.0, "ana"), (10.0, 14.0, "bea")],
}


def annotation(turns: Turns) -> Annotation:
    made = Annotation(uri="call")
    for number, (start, end, speaker) in enumerate(turns):
        made[Segment(start, end), number] = speaker
    return made


def told(turns: Annotation) -> Turns:
    return sorted((turn.start, turn.end, str(who)) for turn, _, who in turns.itertracks(yield_label=True))


def corpus_of(folder: Path, turns: Turns) -> Recording:
    """As a source has it: through an RTTM."""
    write_recording(folder, "call", 16.0, [(start, end - start, who) for start, end, who in turns])
    (recording,) = load_corpus(folder).split("all")
    return recording


def test_turns_that_merely_meet_or_belong_to_others_stay() -> None:
    apart = annotation([(0.0, 1.0, "ana"), (1.0, 2.0, "bea"), (1.002, 2.0, "ana"), (2.5, 3.0, "ana")])
    assert merged(apart) is apart


@pytest.mark.parametrize("how", WRITTEN_OTHERWISE)
def test_one_reference_however_it_is_written(how: str, tmp_path: Path) -> None:
    recording = corpus_of(tmp_path, WRITTEN_OTHERWISE[how])
    assert told(recording.reference) == PLAIN
    assert recording.merged_turns == len(WRITTEN_OTHERWISE[how]) - len(PLAIN)
    whole = score(recording.reference, annotation([(0.0, 4.0, "x")]), recording.annotated)
    # 7.5 of 8 s, 3.5 of 4 s; x is right from 0.25 to 4
    assert (whole.total, whole.missed_detection, whole.seconds) == pytest.approx((11.0, 7.25, 7.25))
    summary = summarize_recording(recording, "eval")
    assert (summary.speech, summary.overlap) == pytest.approx((12.0, 0.0))
    alone = spoken_alone("calls", [recording]).sources
    assert {who: [(one.start, one.stop()) for one in parts] for who, parts in alone.items()} == {
        "ana": [(0.05, 7.95)],
        "bea": [(10.05, 13.95)],
    }
    plain = Recording("call", recording.audio, 16.0, annotation(PLAIN), recording.annotated)
    for ours, theirs in zip(seen_by_models(recording), seen_by_models(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def seen_by_models(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """What the oracle and what training take from a reference: a window of 10 s that ends at 12 s."""
    oracle = ReferenceWindows(tone(16.0), CONTRACT, recording.reference)
    classes, _ = class_of_frames(recording, 2 * 16_000, CONTRACT)
    return oracle.activity_ending_at([12 * 16_000])[0], classes


def test_a_recording_made_by_hand_is_merged_too(tmp_path: Path) -> None:
    audio = write_audio(tmp_path / "call.wav", tone(16.0))
    made = Recording("call", audio, 16.0, annotation(WRITTEN_OTHERWISE["overlapping"]), Timeline([Segment(0, 16)]))
    assert told(made.reference) == PLAIN


def test_the_corpus_says_how_many_lines_were_merged(tmp_path: Path) -> None:
    write_recording(tmp_path, "a", 16.0, [(0, 8, "ana"), (0, 8, "ana"), (3, 6, "ana")])
    write_recording(tmp_path, "b", 16.0, [(0, 3, "ana"), (3, 5, "ana")])
    write_recording(tmp_path, "c", 16.0, [(0, 3, "ana"), (4, 5, "ana")])
    remarks = load_corpus(tmp_path).remarks
    assert sorted((one.kind, one.about, one.said) for one in remarks) == [
        ("merged", "a", "2 lines are merged into turns of the same speaker that they touch or overlap"),
        ("merged", "b", "1 line is merged into a turn of the same speaker that it touches or overlaps"),
    ]


def test_the_fingerprint_is_that_of_the_merged_turns(tmp_path: Path) -> None:
    prints = set()
    for name, turns in (("one", PLAIN), ("two", WRITTEN_OTHERWISE["overlapping"]), ("three", PLAIN + PLAIN)):
        corpus_of(tmp_path / name / "calls", turns)
        prints.add(load_corpus(tmp_path / name / "calls").fingerprint)
    assert len(prints) == 1


def test_a_recording_that_the_collar_takes_whole_is_named(tmp_path: Path) -> None:
    # 0.5 s, and two turns of 0.6 s that overlap but for 0.2 s: boundaries at 4.0, 4.2, 4.6 and 4.8
    write_recording(tmp_path, "short", turns=[(1.0, 0.5, "ana")])
    write_recording(tmp_path, "dense", 8.0, turns=[(4.0, 0.6, "ana"), (4.2, 0.6, "bea")])
    write_recording(tmp_path, "long", turns=[(1.0, 0.52, "ana")])
    corpus = load_corpus(tmp_path)
    said = "nothing of it is scored: all its speech lies within 0.25 s of where a turn begins or ends"
    assert sorted((one.kind, one.about, one.said) for one in corpus.remarks) == [
        ("used", "dense", said),
        ("used", "short", said),
    ]
    scored = {one.uri: score(one.reference, Annotation(), one.annotated).total for one in corpus.split("all")}
    assert scored == pytest.approx({"short": 0.0, "dense": 0.0, "long": 0.02})


# --- beside a scorer that is written otherwise

CELLS = 64  # a second: times are whole cells, so that floats are exact, and a quarter of a second is 16 of them
LENGTH = 16 * CELLS
SPOKEN = st.lists(
    st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 4 * CELLS), st.sampled_from("abc")), min_size=1, max_size=12
)


def cells(turns: list[tuple[int, int, str]]) -> dict[str, np.ndarray]:
    """(LENGTH,) bool: in which cells each speaks, however often it is written."""
    spoken = {who: np.zeros(LENGTH, bool) for _, _, who in turns}
    for start, length, who in turns:
        spoken[who][start : start + length] = True
    return spoken


def by_cells(reference: list[tuple[int, int, str]], hypothesis: list[tuple[int, int, str]]) -> tuple[float, ...]:
    """Seconds of false alarm, missed detection, confusion and scored speech, cell by cell."""
    true, said = cells(reference), cells(hypothesis)
    scored = np.ones(LENGTH, bool)
    for spoken in true.values():
        padded = np.concatenate([[False], spoken, [False]])
        for bound in np.flatnonzero(padded[1:] != padded[:-1]):
            scored[max(0, bound - CELLS // 4) : bound + CELLS // 4] = False
    ours, theirs = (np.sum([*side.values()], axis=0)[scored] for side in (true, said))
    # silent stand-ins, so that anybody may stay without a partner
    voices = [*said.values(), *[np.zeros(LENGTH, bool)] * len(true)]
    right = max(
        sum(int((one & other & scored).sum()) for one, other in zip(true.values(), chosen, strict=False))
        for chosen in permutations(voices, len(true))
    )
    counts = (
        np.maximum(theirs - ours, 0).sum(),
        np.maximum(ours - theirs, 0).sum(),
        np.minimum(ours, theirs).sum() - right,
        ours.sum(),
    )
    return tuple(float(count) / CELLS for count in counts)


def in_seconds(turns: list[tuple[int, int, str]]) -> Annotation:
    return annotation([(start / CELLS, min(LENGTH, start + length) / CELLS, who) for start, length, who in turns])


@given(SPOKEN, SPOKEN)
def test_errors_are_those_of_a_scorer_that_goes_cell_by_cell(
    reference: list[tuple[int, int, str]], hypothesis: list[tuple[int, int, str]]
) -> None:
    everything = Timeline([Segment(0, LENGTH / CELLS)])
    counts = score(in_seconds(reference), in_seconds(hypothesis), everything)
    found = (counts.false_alarm, counts.missed_detection, counts.confusion, counts.total)
    assert found == pytest.approx(by_cells(reference, hypothesis), abs=1e-6)


@given(SPOKEN, st.lists(st.integers(0, LENGTH), min_size=2, max_size=6, unique=True).map(sorted))
def test_what_the_collar_leaves_is_nothing_where_nothing_is_scored(
    turns: list[tuple[int, int, str]], bounds: list[int]
) -> None:
    parts = Timeline(
        [Segment(start / CELLS, end / CELLS) for start, end in zip(bounds[::2], bounds[1::2], strict=False)]
    )
    reference = merged(in_seconds(turns))
    scored = score(reference, Annotation(), parts).total
    assert (speech_outside_collar(reference, parts) == 0) == (scored == 0)


def test_repeated_lines_through_an_rttm_change_no_error(tmp_path: Path) -> None:
    """As ../shared/data/cases/duplicate_lines.rttm: 62.51 % instead of 25.03 %."""
    said = annotation([(0.0, 5.0, "x"), (5.0, 9.0, "y"), (11.0, 15.0, "y")])
    counts = []
    for name, times in (("once", 1), ("twice", 2)):
        folder = tmp_path / name
        write_audio(folder / "call.wav", tone(16.0))
        lines = rttm("call", [(0.0, 8.0, "ana"), (10.0, 4.0, "bea")])
        (folder / "call.rttm").write_text("".join(line * times for line in lines.splitlines(keepends=True)))
        (recording,) = load_corpus(folder).split("all")
        counts.append(score(recording.reference, said, recording.annotated))
    assert counts[0] == counts[1]
    # ana 0.25-7.75 (x to 5, y is bea's), bea 10.25-13.75 (nobody to 11); y also 8.25-9 and 14.25-15
    assert counts[0].total == pytest.approx(11.0)
    assert (counts[0].false_alarm, counts[0].missed_detection, counts[0].confusion) == pytest.approx((1.5, 0.75, 2.75))
