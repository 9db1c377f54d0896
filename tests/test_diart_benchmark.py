"""The comparison with diart, as far as it needs no diart."""

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from pyannote.core import Annotation, Segment, Timeline
from rich.console import Console

from objectives.backends.pyannote import StatsPool
from objectives.corpora.corpus import Recording
from objectives.measurement import ErrorCounts
from tests.benchmarks import diart, diart_peer
from tests.benchmarks.diart_peer import Once, Settings, Voices
from tests.benchmarks.diart_results import (
    Heard,
    Result,
    as_json,
    interval_in_words,
    interval_to,
    passed,
    refuse_other_errors,
    score_all,
    table_of,
)

ANSWER = {"seconds": 2.5, "audio": 10.0, "until": 10.5, "updates": 9, "turns": [[0.0, 4.0, "a"], [0.0, 4.0, "b"]]}


def voices() -> Voices:
    """A stand-in for CAM++ that hears 100 samples a frame; its frames depend on what comes before and after them."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(100, 16, 5, stride=2, padding=2)

    def network(fbank: torch.Tensor) -> torch.Tensor:
        return convolution(fbank.transpose(1, 2)).relu()

    return Voices(lambda wave: wave.reshape(-1, 100), network, StatsPool(), torch.randn(4, 32), torch.randn(4))


@pytest.mark.parametrize("windows", [1, 3])
@torch.no_grad()
def test_a_window_embedded_once_gives_what_diart_has_of_it_once_per_speaker(windows: int) -> None:
    model = voices()
    waveform, weights = torch.randn(windows, 4000, 1), torch.rand(windows, 29, 3)
    # as diart 0.9.2's SpeakerEmbedding.__call__: (window, speaker) pairs, each with the whole window
    repeated = waveform.transpose(1, 2).repeat(1, 3, 1).reshape(windows * 3, 1, 4000)
    theirs = model(repeated, weights.transpose(1, 2).reshape(windows * 3, 29)).reshape(windows, 3, 4).squeeze()
    ours = Once(model)(waveform, weights)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours[..., 0, :], ours[..., 1, :])


def test_an_answer_is_read_as_it_was_said() -> None:
    one = passed(json.loads(json.dumps({"call": ANSWER})), ["call"])["call"]
    assert (one.seconds, one.updates) == (2.5, 9)
    # two turns of one span stay two
    assert sorted(one.annotation().itertracks(yield_label=True)) == [
        (Segment(0, 4), 0, "a"),
        (Segment(0, 4), 1, "b"),
    ]


def test_an_answer_that_failed_or_forgot_a_recording_is_refused() -> None:
    with pytest.raises(RuntimeError, match="diart failed after 3 of 10 s"):
        passed({"error": "call: diart failed after 3 of 10 s"}, ["call"])
    with pytest.raises(RuntimeError, match="asked for"):
        passed({"call": ANSWER}, ["call", "other"])


def test_a_hypothesis_that_ends_early_is_refused() -> None:
    diart_peer.refuse_unfinished("call", until=10.5, audio=10.0, errors=[])
    with pytest.raises(RuntimeError, match="up to 9 of 10 s only"):
        diart_peer.refuse_unfinished("call", until=9.0, audio=10.0, errors=[])
    with pytest.raises(RuntimeError, match=r"call: diart failed after 10 of 10 s: ValueError\('NaN'\)"):
        diart_peer.refuse_unfinished("call", until=10.0, audio=10.0, errors=[ValueError("NaN")])


def test_turns_are_scored_by_the_product(tmp_path: Path) -> None:
    # A 0-8, of which p says 0-4 (missed: 4-7.75), and q speaks 9-10, when nobody does
    reference = Annotation(uri="call")
    reference[Segment(0, 8), 0] = "A"
    recording = Recording("call", tmp_path / "call.wav", 10.0, reference, Timeline([Segment(0, 10)]))
    counts = score_all([recording], {"call": Heard(1.0, 9, ((0.0, 4.0, "p"), (9.0, 10.0, "q")))})
    assert counts["call"].missed_detection == pytest.approx(3.75)
    assert counts["call"].false_alarm == pytest.approx(1.0)
    assert counts["call"].total == pytest.approx(7.5)


def result(name: str, seconds: list[float], missed: list[float]) -> Result:
    """Of recordings with 10 s of speech each."""
    passes = [{"a": Heard(one, 5, ()), "b": Heard(one, 4, ())} for one in seconds]
    return Result(name, passes, {uri: ErrorCounts(0.0, of, 0.0, 10.0) for uri, of in zip("ab", missed, strict=True)})


def test_what_is_told_of_a_system() -> None:
    online, other = result("online", [1.0, 2.0], [1.0, 2.0]), result("diart", [4.0, 6.0], [3.0, 2.0])
    told = as_json(other, online, audio=20.0)
    assert told["rtf"] == {"median": pytest.approx(0.5), "repeats": pytest.approx([0.4, 0.6])}
    assert told["times_online"]["repeats"] == pytest.approx([4.0, 3.0])  # within a repeat
    assert told["updates"] == 9
    assert told["der"] == pytest.approx(25.0)
    assert told["online_minus_it"]["points"] == pytest.approx(-10.0)
    assert json.loads(json.dumps(told)) == told
    apart = interval_to(other, online)
    assert apart is not None
    assert interval_in_words(apart) == "-10.00 [-20.00, +0.00], tied"
    assert as_json(online, online, audio=20.0)["online_minus_it"] is None
    console = Console(width=170, record=True)
    console.print(table_of([other, online], 20.0, "title"))
    assert "0.5000 (0.4000–0.6000)" in console.export_text()


def test_a_timed_loop_with_other_errors_is_refused() -> None:
    known = {"a": ErrorCounts(0.0, 1.0, 0.0, 10.0)}
    refuse_other_errors("online", known, {"a": ErrorCounts(0.0, 1.0 + 1e-9, 0.0, 10.0)})
    with pytest.raises(RuntimeError, match="online, a: "):
        refuse_other_errors("online", known, {"a": ErrorCounts(0.0, 1.1, 0.0, 10.0)})


def test_an_environment_without_diart_is_told(tmp_path: Path) -> None:
    settings = Settings(1.0, 0.5, 0.6, 0.3, 1.0, 1, *[""] * 5)
    with pytest.raises(RuntimeError, match="No package metadata was found for diart"):
        diart.Peer(Path(sys.executable), settings, tmp_path / "log")


def test_what_runs_in_the_other_environment_imports_nothing_of_this_one() -> None:
    tree = ast.walk(ast.parse(diart.PEER.read_text()))
    named = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
    tree = ast.walk(ast.parse(diart.PEER.read_text()))
    named += [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
    assert "diart.inference" in named
    assert not {name.split(".")[0] for name in named} & {"explorer", "studies", "objectives", "tests"}
