"""Study definitions: the packaged ones, what a user may write, and how a mistake is told."""

from pathlib import Path

import pytest

from objectives.errors import StudyError
from studies.definition import StudyDefinition, find, name_of, packaged, parse, read


def test_the_packaged_studies() -> None:
    assert set(packaged()) == {"quickstart", "joint", "right_context", "chunk_length"}


@pytest.mark.parametrize("name", sorted(packaged()))
def test_a_packaged_study_is_found_and_starts_with_the_baseline(name: str) -> None:
    found, definition = find(name)
    assert found == name
    assert definition.fixed_points[0].origin == "baseline"
    assert definition.description


def test_sweeps_need_no_search() -> None:
    for name, points in (("right_context", 10), ("chunk_length", 9)):
        definition = find(name)[1]
        assert (definition.trials, len(definition.fixed_points)) == (0, points)


def test_quickstart_stays_quick() -> None:
    definition = find("quickstart")[1]
    assert definition.space.chunk_length[0] >= 0.1
    assert min(fixed.point.chunk_length for fixed in definition.fixed_points) >= 0.1
    assert definition.trials >= 12
    assert len(definition.fixed_points) == 9
    # 180 s of audio, 12 ms a window, one window each C: the fixed points alone, in seconds
    assert sum(180 / fixed.point.chunk_length * 0.012 for fixed in definition.fixed_points) < 60


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('trials = 5\n[space]\nchunk_length = 1\nprecision = ["fp32"]\n[limits]\nlatency = 1\n')
    name, definition = find(str(file))
    assert name == name_of(str(file)) == "mine"
    assert definition.space.chunk_length == (1.0, 1.0)
    assert definition.limits.given() == {"latency": 1.0}
    assert definition.sampler == "tpe"


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("trails = 3", ["unknown key trails", "trials", "timeout"]),
        ("[space]\nchunk = 1.0", ["unknown key space.chunk", "space.chunk_length"]),
        ("[limits]\nwatts = 5.0", ["unknown key limits.watts", "limits.latency"]),
        ("trials = '3'", ["trials = '3'", "integer"]),
        ("trials = true", ["trials = True", "integer"]),
        ("trials = -1", ["trials = -1"]),
        ("timeout = inf", ["timeout", "finite"]),
        ("[limits]\nlatency = nan", ["limits.latency", "finite"]),
        ("[limits]\nder = 0.0", ["limits.der", "greater than 0"]),
        ("sampler = 'qmc'", ["sampler = 'qmc'", "tpe"]),
        ("[space]\nchunk_length = [3.0, 1.0]", ["space.chunk_length", "[low, high]"]),
        ("[space]\nchunk_length = [0.001, 1.0]", ["space.chunk_length", "0.02"]),
        ("[space]\nchunk_length = [0.1, 1.0, 2.0]", ["space.chunk_length"]),
        ("[space]\nprecision = []", ["space.precision", "at least one"]),
        ("[space]\nlook_ahead = ['some', 'some', 'none']", ["space.look_ahead", "each once"]),
        ("[fixed]\nsweeps = ['figure3']", ["fixed.sweeps.0 = 'figure3'", "figure1"]),
        ("[fixed]\nright_context = [7.0]", ["right context R = 7 s"]),
        ("[space]\nchunk_length = 0.5", ["baseline", "chunk_length = 1", "Widen"]),
        ("[space]\nlook_ahead = ['none']\n[fixed]\nright_context = [0.5]", ["paper:figure1:R=0.5", "look_ahead"]),
        ("[cost]\nrepeats = 1", ["cost.repeats = 1"]),
        ("space = 3", ["space = 3"]),
        ("trials = ", ["is not TOML"]),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_remedy(tmp_path: Path, text: str, needles: list[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(StudyError) as caught:
        read(file)
    for needle in [str(file), *needles]:
        assert needle in str(caught.value)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="chunk_length, joint, quickstart, right_context"):
        find("nonsense")
    with pytest.raises(StudyError, match=r"none\.toml: cannot be read"):
        find(str(tmp_path / "none.toml"))


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults() -> None:
    filed = parse({"trials": 7, "seed": 3, "limits": {"latency": 1.0}}, "a file")
    varied = filed.vary("the command line", trials=9, seed=None, corpus=None, limits={"rtf": 0.1})
    assert (varied.trials, varied.seed, varied.corpus) == (9, 3, "ami-excerpts")
    assert varied.limits.given() == {"latency": 1.0, "rtf": 0.1}
    assert filed.vary("the command line", limits=None) == filed
    with pytest.raises(StudyError, match="the command line: sampler"):
        filed.vary("the command line", sampler="best")


def test_identity_leaves_out_budget_and_remarks() -> None:
    plain, other = StudyDefinition(), parse({"trials": 1, "timeout": 2.0, "description": "x"}, "a file")
    assert plain.identity() == other.identity()
    assert plain.identity() != parse({"seed": 1}, "a file").identity()
    assert plain.identity()["space.chunk_length"] == [0.02, 5.0]


def test_a_point_named_twice_is_measured_once() -> None:
    definition = parse({"fixed": {"sweeps": ["figure1"], "right_context": [0.5]}}, "a file")
    origins = [fixed.origin for fixed in definition.fixed_points]
    assert origins.count("paper:figure1:R=0.5") == 1
    assert len(origins) == 10
