"""What the figures of a study are made of, computed by hand."""

import csv
import io
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from optuna.trial import FrozenTrial, TrialState
from pyannote.core import Annotation, Segment, Timeline

from explorer.figures.curves import draw_stages
from explorer.figures.data import FrontPoint, OtherTrial, joint_front, short_name, stage_shares, sweep_curve
from explorer.figures.front import draw_front, labelled
from explorer.figures.per_recording import BETWEEN, RecordingDelta, overlap_figure, precision_deltas
from explorer.figures.style import as_bytes, spread, styled
from explorer.front import frames
from explorer.front.rows import Comparison, FrontRow
from explorer.report.breakdown import overlap_series
from explorer.report.exhibit import trials_in_words
from explorer.report.facts import name_of_model, without_paths
from objectives.corpora.corpus import Recording
from objectives.corpora.summary import SpeechSummary, summarize_recording
from tests.support.front_rows import front_row

STAGES = {"segmentation": 0.5, "embedding": 0.3, "clustering": 0.15, "other": 0.05}


def row(trial: int, origin: str = "search", der: float | None = 20.0, **changes: object) -> FrontRow:
    """A measured row at C = 1 s, R = 0, unpruned in FP32, unless told otherwise."""
    return front_row(trial, origin=origin, der=der, **{"stage_shares": STAGES, **changes})


def trial(number: int, ders: dict[str, float | None]) -> FrozenTrial:
    """A complete trial with these DERs by recording."""
    told = {"recordings": {uri: {"der": der} for uri, der in ders.items()}}
    made = optuna.trial.create_trial(state=TrialState.COMPLETE, values=[1.0, 1.0, 1.0], user_attrs=told)
    made.number = number
    return made


# --- the joint front


def test_fixed_points_of_one_operating_point_are_one_marker() -> None:
    rows = [
        row(0, "baseline"),
        row(7, "paper:table1:Baseline"),
        row(4, "paper:figure2:C=1"),
        row(9, der=19.0, rtf=0.2, pruning="Both-5"),
    ]
    first, second = joint_front(rows).points  # best DER first
    assert (first.trials, first.label, first.fixed, first.structure) == ((9,), "C=1 R=0 Both-5 fp32", False, "both")
    assert (second.trials, second.label, second.fixed) == ((0, 4, 7), "baseline / C=1", True)


def test_what_was_not_measured_is_not_drawn() -> None:
    assert joint_front([row(0, "baseline"), row(1, "paper:figure1:R=1", der=None, right_context=1.0)]).points[
        -1
    ].trials == (0,)


@pytest.mark.parametrize(
    ("ders", "ceiling"),
    [
        ([20.0, 30.0, 99.0], None),
        ([20.0, 30.0, 100.0], None),
        ([40.0, 80.0, 196.8], 88.0),  # a tenth above the highest that is drawn where it is
        ([20.0, 100.0, 150.0], 110.0),  # who says nothing at all is drawn where he is
        ([120.0, 196.8], None),  # nothing would be flattened
    ],
)
def test_a_der_far_beyond_the_others_does_not_flatten_them(ders: list[float], ceiling: float | None) -> None:
    front = joint_front([row(n, der=der, chunk_length=1.0 + n / 10) for n, der in enumerate(ders)])
    assert front.ceiling == (None if ceiling is None else pytest.approx(ceiling))
    assert [point.der for point in front.points] == ders  # the data keep what the drawing cuts


@pytest.mark.parametrize(
    ("origin", "changes", "name"),
    [
        ("baseline", {}, "baseline"),
        ("paper:figure1:R=0.5", {}, "R=0.5"),
        ("fixed:C=0.3", {}, "C=0.3"),
        ("paper:table1:Baseline", {}, "baseline"),
        ("paper:table1:Hidden-40", {}, "Hidden-40"),
        ("paper:table2:FP32", {"pruning": "Linear-20"}, "Linear-20"),
        ("paper:table2:INT8_PTQ", {"pruning": "Linear-20", "precision": "int8_ptq"}, "Linear-20 int8_ptq"),
        ("search", {"chunk_length": 0.123, "right_context": 0.0}, "C=0.12 R=0 fp32"),
        ("search", {"mode": "offline", "pruning": "Both-5"}, "Both-5 fp32"),
    ],
)
def test_names_of_points(origin: str, changes: dict[str, object], name: str) -> None:
    assert short_name(row(0, origin, **changes)) == name


def test_no_two_names_of_a_crowded_front_overlap() -> None:
    crowd = [
        row(n, f"fixed:point-{n}", der=40 + 0.01 * n, chunk_length=1.0 + n / 10, standing="dominated")
        for n in range(30)
    ]
    crowd += [row(30 + n, der=41.0 + 0.5 * n, chunk_length=4.0 + n / 20, pruning="Both-95") for n in range(12)]
    front = joint_front([*crowd, row(99, der=250.0, chunk_length=5.0)])
    figure = draw_front(front)
    with styled():
        as_bytes(figure, "png")
        renderer = FigureCanvasAgg(figure).get_renderer()
        panels = [axes for axes in figure.axes if len(axes.texts) > len(front.points)]
        assert len(panels) == 2
        for panel in panels:
            boxes = [text.get_window_extent(renderer) for text in panel.texts if text.get_text()]
            assert len(boxes) == len(front.points)
            boxes.sort(key=lambda box: box.y0)
            assert all(lower.y1 <= upper.y0 + 0.5 for lower, upper in pairwise(boxes))
            width = figure.get_window_extent(renderer).width
            assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)


def test_fixed_points_are_named_first_where_there_is_no_room_for_all() -> None:
    rows = [row(n, f"fixed:p{n}", der=20.0 + n, chunk_length=1.0 + n / 10) for n in range(20)]
    rows += [row(100 + n, der=10.0 + n / 100, chunk_length=3.0 + n / 200) for n in range(200)]
    named = labelled(joint_front(rows).points)
    assert len(named) == 60
    assert sum(point.fixed for point in named) == 20
    assert {named[0].trials, named[-21].trials} == {(100,), (299,)}  # both ends of the front


def test_an_offline_front_is_drawn_over_the_rtf() -> None:
    offline = {"mode": "offline"}
    front = joint_front([row(0, "baseline", **offline), row(1, pruning="Hidden-20", rtf=0.05, **offline)])
    labels = [axes.get_xlabel() for axes in draw_front(front).axes]
    assert "RTF (log)" in labels
    assert not any("latency" in label for label in labels)


def test_the_rest_of_the_search_is_drawn_too() -> None:
    front = joint_front([row(0)], [OtherTrial(5, 30.0, 2.0, 0.1, 1.5), OtherTrial(6, 31.0, 2.0, 0.1, None)])
    drawn = [c.get_offsets().tolist() for axes in draw_front(front, "latency").axes for c in axes.collections]
    assert [[1.5, 30.0]] in drawn


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.floats(0.0, 0.2))
def test_spread_keeps_order_gap_and_bounds(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap, 0.0, 1.0)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    room = min(gap, 1.0 / max(1, len(wanted) - 1))
    ordered = sorted(places)
    assert all(b - a >= room - 1e-9 for a, b in pairwise(ordered))
    assert [place for _, place in sorted(zip(wanted, places, strict=True))] == ordered


def test_spread_moves_no_further_than_it_must() -> None:
    assert spread([0.2, 0.8], 0.1, 0.0, 1.0) == pytest.approx([0.2, 0.8])
    assert spread([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 0.05], 0.1, 0.0, 1.0) == pytest.approx([0.0, 0.1, 0.2])


# --- the paper's figures


def test_sweeps_are_the_fixed_unpruned_points_on_their_curve() -> None:
    rows = [
        row(0, "baseline", der=39.5),
        row(1, "paper:figure1:R=0.5", der=39.9, right_context=0.5),
        row(2, "fixed:R=0.3", der=39.0, right_context=0.3),
        row(3, "paper:figure2:C=0.1", der=49.0, chunk_length=0.1),
        row(4, "paper:table1:Hidden-40", pruning="Hidden-40"),
        row(5, "paper:figure1:R=5", der=None, right_context=5.0),
        row(6, "search", right_context=0.7),
        row(8, "online:figure1:R=0.2", right_context=0.2, mode="online"),  # another way of tracking is another curve
        row(7, "paper:figure2:C=1", der=39.5),
    ]
    first, second = sweep_curve(rows, "figure1"), sweep_curve(rows, "figure2")
    assert first is not None
    assert second is not None
    assert [(point.trial, point.value, point.der) for point in first.points] == [(2, 0.3, 39.0), (1, 0.5, 39.9)]
    assert first.zero is not None
    assert (first.zero.trial, first.zero.value) == (0, 0.0)
    assert [(point.trial, point.value) for point in second.points] == [(3, 0.1), (7, 1.0)]  # of equals the figure's own
    assert (second.points[0].rtf_low, second.points[0].confusion) == (0.09, 3.0)


def test_one_point_is_no_curve() -> None:
    assert sweep_curve([row(0, "baseline")], "figure1") is None
    assert sweep_curve([row(0, "baseline")], "figure2") is None
    assert sweep_curve([], "figure1") is None
    two = [row(0, "baseline"), row(1, "paper:figure1:R=0.5", right_context=0.5)]
    curve = sweep_curve(two, "figure1")  # R = 0 is one of the two
    assert curve is not None
    assert (len(curve.points), curve.zero is None) == (1, False)


def test_deltas_by_hand() -> None:
    rows = [
        row(3, "paper:table1:Linear-40", der=30.0, pruning="Linear-40"),
        row(4, "paper:table2:INT8_PTQ", der=31.5, pruning="Linear-40", precision="int8_ptq"),
        row(5, "paper:table2:FP16", der=None, pruning="Linear-40", precision="fp16"),
        row(6, "paper:table2:FP32", der=30.0, pruning="Linear-40"),  # what the others differ from, and no change itself
        row(0, "baseline", der=20.0),
    ]
    base = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0, "e": 50.0, "silent": None}
    low_bit = {"a": 11.0, "b": 19.0, "c": 32.0, "d": 44.0, "e": 60.0, "silent": None}  # +1 −1 +2 +4 +10
    told_apart = Comparison(
        "lower precision against FP32", 4, 3, "int8_ptq", "fp32", 31.5, 30.0, 1.5, -1.0, 10.0, recordings=6, tied=True
    )
    found = precision_deltas(rows, {3: trial(3, base), 4: trial(4, low_bit)}, [told_apart])
    assert found is not None
    assert (found.pruning, found.reference, found.unscored) == ("Linear-40", 3, ("silent",))
    assert [delta.delta for delta in found.deltas] == [1.0, -1.0, 2.0, 4.0, 10.0]
    assert [(delta.uri, delta.trial, delta.der, delta.reference_der) for delta in found.deltas[:2]] == [
        ("a", 4, 11.0, 10.0), ("b", 4, 19.0, 20.0)
    ]  # fmt: skip
    (told,) = found.summaries
    # sorted −1 1 2 4 10: quartiles at places 1 and 3; P90 at 0.9 · 4 = 3.6, so 4 + 0.6 · 6
    assert (told.smallest, told.lower_quartile, told.median, told.upper_quartile, told.largest) == (-1, 1, 2, 4, 10)
    assert told.p90 == pytest.approx(7.6)
    assert (told.number, told.pooled) == (5, pytest.approx(1.5))
    assert (told.pooled_low, told.pooled_high, told.tied) == (-1.0, 10.0, True)
    assert told.published == pytest.approx(23.67 - 12.66)


def test_deltas_are_to_fp32_with_the_same_thresholds() -> None:
    def online(delta_new: float | None) -> dict[str, object]:
        return {"pruning": "Linear-40", "mode": "online", "online": {"delta_new": delta_new, "min_duration_off": 0.0}}

    rows = [
        row(3, "search", **online(0.9)),
        row(5, "paper:table1:Linear-40", **online(None)),
        row(6, "paper:table2:INT8_PTQ", precision="int8_ptq", **online(None)),
    ]
    found = precision_deltas(rows, {5: trial(5, {"a": 10.0}), 6: trial(6, {"a": 11.0})}, ())
    assert found is not None
    assert found.reference == 5
    assert precision_deltas([rows[0], rows[2]], {}, ()) is None


def test_without_fp32_of_the_same_model_there_are_no_deltas() -> None:
    rows = [
        row(3, "paper:table1:Linear-20", pruning="Linear-20"),
        row(4, "paper:table2:INT8_PTQ", pruning="Linear-40", precision="int8_ptq"),
        row(5, "fixed:C=0.3", pruning="Linear-40", chunk_length=0.3),
    ]
    assert precision_deltas(rows, {}, ()) is None
    assert precision_deltas(rows[:1], {}, ()) is None


# --- stages and overlap


def test_a_page_of_stages_takes_the_front_first() -> None:
    rows = [row(n, f"fixed:p{n}", der=20.0 + n, chunk_length=1.0 + n / 10, standing="dominated") for n in range(35)]
    rows += [row(50, der=90.0, pruning="Both-95"), row(51, der=10.0, pruning="Both-5", stage_shares=None)]
    found = stage_shares(joint_front(rows).points)
    assert found is not None
    assert (len(found.bars), found.left_out, found.bars[-1].trial) == (30, 6, 50)
    assert (found.bars[0].segmentation, found.bars[0].other) == (0.5, 0.05)
    assert stage_shares(joint_front(rows[-1:]).points) is None


def test_names_of_bars_fit_into_the_figure() -> None:
    point = joint_front(
        [row(0, chunk_length=0.023, right_context=0.012, pruning="Hidden-95", precision="int8_ptq")]
    ).points
    bars = stage_shares(point)
    assert bars is not None
    figure = draw_stages(bars)
    as_bytes(figure, "png")
    (axes,) = figure.axes
    for dots in (72, 150):  # an SVG's, and a PNG's
        figure.set_dpi(dots)
        with styled():
            renderer = FigureCanvasAgg(figure).get_renderer()
            assert all(label.get_window_extent(renderer).x0 >= 0 for label in axes.get_yticklabels())


def speech_of(uri: str, turns: list[tuple[float, float, str]]) -> SpeechSummary:
    """10 s of which the first 8 are annotated."""
    reference = Annotation(uri=uri)
    for start, end, who in turns:
        reference[Segment(start, end), who] = who
    annotated = Timeline([Segment(0.0, 8.0)], uri=uri)
    return summarize_recording(Recording(uri, Path("none.wav"), 10.0, reference, annotated), "eval")


def test_overlap_counts_inside_the_uem_only() -> None:
    # ana 0–6, bob 4–10: inside 0–8 somebody speaks for 8 s, both for 2 s
    speech = {"a": speech_of("a", [(0, 6, "ana"), (4, 10, "bob")]), "b": speech_of("b", [(0, 4, "ana")])}
    found = overlap_figure({"baseline": trial(0, {"a": 30.0, "b": 10.0, "silent": None})}, speech)
    assert [(point.uri, point.overlap_share, point.der) for point in found.points] == [
        ("a", 0.25, 30.0),
        ("b", 0.0, 10.0),
    ]
    assert (found.rank_correlation, found.unscored) == ({}, ("silent",))  # two recordings have no ranks worth telling


def test_rank_correlation_by_hand() -> None:
    ends = {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}  # seconds of overlap, of 4 s of speech
    speech = {
        uri: speech_of(uri, [(0, 4, "ana"), (0, end, "bob")] if end else [(0, 4, "ana")]) for uri, end in ends.items()
    }
    # ranks of DER: 1 3 2 4, so d² = 0 1 1 0 and rho = 1 − 6 · 2 / (4 · 15)
    x = trial(0, {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0})
    found = overlap_figure({"x": x}, speech)
    assert {name: rank.value for name, rank in found.rank_correlation.items()} == {"x": pytest.approx(0.8)}
    y = trial(1, {"a": 5.0, "b": 6.0, "c": 4.0, "d": 5.0})  # less x: 4 3 2 1, the more overlap the less
    found = overlap_figure({"x": x, "y": y}, speech)
    assert found.rank_correlation[BETWEEN].value == pytest.approx(-1.0)


def test_the_baseline_stands_beside_the_lowest_der_of_the_front() -> None:
    trials = {n: trial(n, {}) for n in range(3)}
    series, same = overlap_series([row(2, der=10.0), row(0, "baseline", der=12.0)], trials)
    assert (list(series), same) == (["baseline (trial 0)", "lowest DER of the front (trial 2)"], False)
    series, same = overlap_series([row(0, "baseline", der=12.0), row(1, der=13.0)], trials)
    assert (list(series), same) == (["baseline (trial 0)", "next DER of the front (trial 1)"], True)


# --- words


@pytest.mark.parametrize(
    ("numbers", "words"), [([3], "trial 3"), ([2, 0, 1, 5, 5], "trials 0–2, 5"), ([1, 3], "trials 1, 3")]
)
def test_trials_in_words(numbers: list[int], words: str) -> None:
    assert trials_in_words(numbers) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ana/calls/call01.wav: cannot be read", "call01.wav: cannot be read"),
        ("see '/srv/x/' and ~/mine/b.rttm, line 3", "see 'x' and b.rttm, line 3"),
        ("sqlite:////var/lib/x.db", "sqlite:x.db"),
        (r"C:\Users\ana\a.wav is empty", "a.wav is empty"),
        ("pyannote/segmentation-3.0, s/s, 1 / 2 and C + R", "pyannote/segmentation-3.0, s/s, 1 / 2 and C + R"),
    ],
)
def test_paths_are_cut_down_to_their_names(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_a_model_given_by_a_path_is_named_by_its_file() -> None:
    assert name_of_model("/home/ana/m.ckpt") == "m.ckpt"
    assert name_of_model("./m.ckpt") == "m.ckpt"
    assert name_of_model("pyannote/segmentation-3.0") == "pyannote/segmentation-3.0"


def test_a_sheet_keeps_every_digit() -> None:
    deltas = [RecordingDelta("fp16", 4, "call, one", 1 / 3, 0.1 + 0.2, -1e-17)]
    (line,) = csv.DictReader(io.StringIO(frames.as_csv(frames.frame_of(RecordingDelta, deltas))))
    assert (
        RecordingDelta(
            line["precision"],
            int(line["trial"]),
            line["uri"],
            float(line["der"]),
            float(line["reference_der"]),
            float(line["delta"]),
        )
        == deltas[0]
    )
    points = joint_front([row(0, "baseline"), row(4, "paper:figure2:C=1")]).points
    (line,) = csv.DictReader(io.StringIO(frames.as_csv(frames.frame_of(FrontPoint, points))))
    assert (line["trials"], line["stage_shares"]) == (
        "0 4",
        "segmentation=0.5 embedding=0.3 clustering=0.15 other=0.05",
    )
