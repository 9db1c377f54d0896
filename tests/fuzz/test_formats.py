"""A short version of `python -m tests.fuzz`, which runs a thousand cases of every format."""

from pathlib import Path

import pytest

from tests.fuzz.campaign import FORMATS, run_formats
from tests.fuzz.cases import Format, Outcome, run_case

CASES = {
    "rttm": 1000,
    "uem": 1000,
    "splits.json": 1000,
    "study.toml": 1000,
    "operating_point.json": 1000,
    "trial attributes": 15,
}
OTHERS = 40  # cases of what takes milliseconds
NATIVE = 8  # of what takes tens of them
ONE_KIND = ("model sidecar", "study: identity, resumed", "features.npy", "windows.npz")  # made again, or as before
HERE = [format for format in FORMATS if not format.native]


def wrong(outcomes: list[Outcome]) -> list[str]:
    return [f"case {outcome.case} {outcome.kind}: {outcome.told}" for outcome in outcomes if not outcome.sound]


@pytest.mark.parametrize("format", HERE, ids=[format.name for format in HERE])
def test_what_is_nearly_right_loads_or_is_refused_in_words(format: Format, tmp_path: Path) -> None:
    outcomes = run_formats([format], tmp_path, 0, 0, CASES.get(format.name, OTHERS))[format.name]
    assert wrong(outcomes) == []
    kinds = {outcome.kind for outcome in outcomes}
    assert kinds == {"valid", "refused"} or format.name in ONE_KIND


def test_native_decoders_survive(tmp_path: Path) -> None:
    found = run_formats([format for format in FORMATS if format.native], tmp_path, 0, 0, NATIVE)
    assert {name: told for name, outcomes in found.items() if (told := wrong(outcomes))} == {}
    assert all(len(outcomes) == NATIVE for outcomes in found.values())


def test_features_that_are_nan_name_their_file(tmp_path: Path) -> None:
    """What a campaign of a thousand once found."""
    damaged = [format for format in FORMATS if format.name == "bundle embedding.onnx"]
    (outcome,) = run_formats(damaged, tmp_path, 0, 11, 1)["bundle embedding.onnx"]
    assert (outcome.kind, "embedding.onnx: gives features that are NaN" in outcome.told) == ("refused", True)


def test_a_traceback_and_a_poor_message_are_noticed(tmp_path: Path) -> None:
    """What the campaign looks for is found where it is there."""
    from objectives.errors import CorpusError

    def escapes(prepared: object, path: Path) -> None:
        raise KeyError(path)

    def says_little(prepared: object, path: Path) -> None:
        raise CorpusError("it is wrong\x1b[31m")

    def format(load: object) -> Format:
        return Format("one", ".x", lambda folder: None, lambda prepared, draw: b"", load)

    assert run_case(format(escapes), None, tmp_path, 0, 0).kind == "escaped"
    poor = run_case(format(says_little), None, tmp_path, 0, 0)
    assert poor.kind == "poor"
    assert "lacks the file, a remedy, only what can be printed" in poor.told
