"""Study definitions: the packaged ones, what a user may write, and how a mistake is told."""

from pathlib import Path

import pytest

from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint, Pruning
from studies.definition import StudyDefinition, find, name_of, packaged, parse, read
from studies.paper_results import TABLE1, TABLE2


def test_the_packaged_studies() -> None:
    names = {"quickstart", "joint", "online", "right_context", "chunk_length", "pruning", "quantization"}
    assert set(packaged()) == names


@pytest.mark.parametrize("name", sorted(packaged()))
def test_a_packaged_study_is_found_and_starts_with_the_baseline(name: str) -> None:
    found, definition = find(name)
    assert found == name
    assert definition.fixed_points_for(None)[0].origin == "baseline"
    assert definition.description


def test_sweeps_need_no_search() -> None:
    for name, points in (("right_context", 10), ("chunk_length", 9), ("pruning", 10), ("quantization", 7)):
        definition = find(name)[1]
        assert (definition.trials, len(definition.fixed_points_for("Linear-40"))) == (0, points)


def test_the_papers_tables_run_offline_and_joint_streams_them() -> None:
    for name, mode in (("pruning", "offline"), ("quantization", "offline"), ("joint", "chunk-wise")):
        points = find(name)[1].fixed_points_for("Hidden-20")
        assert {fixed.point.mode for fixed in points} == {mode}
    origins = {fixed.origin: fixed.point for fixed in points}
    assert [*TABLE1] == [origin.rpartition(":")[2] for origin in origins if origin.startswith("paper:table1:")]
    assert [*TABLE2] == [origin.rpartition(":")[2] for origin in origins if origin.startswith("paper:table2:")]
    assert origins["paper:table2:INT8_QAT"].pruning == Pruning("hidden", 0.2)
    assert origins["paper:table1:Linear-80"] == OperatingPoint(1.0, 0.0, Pruning("linear", 0.8))


def test_pruned_models_of_the_packaged_studies_are_shared() -> None:
    settings = {name: find(name)[1].compression_settings() for name in ("joint", "pruning", "quantization")}
    assert len({(one.recovery, one.iterations, one.seed) for one in settings.values()}) == 1
    # the paper's tables are the paper's, the search may use what goes beyond
    assert settings["pruning"].quantization == settings["quantization"].quantization == QuantizationOptions()
    assert settings["joint"].quantization != QuantizationOptions()


def test_compression_settings_come_from_the_file() -> None:
    assert parse({}, "a file").compression_settings() == CompressionSettings()
    told = {
        "seed": 3,
        "pruning": {"iterations": 2},
        "recovery": {
            "method": "bce", "steps": 1, "qat_steps": 2, "windows": 3, "batch": 4, "learning_rate": 0.5,
        },
        "quantization": {"group_size": 32, "clipping": "mse", "sincnet": "int8"},
    }  # fmt: skip
    assert parse(told, "a file").compression_settings() == CompressionSettings(
        recovery=RecoverySettings(method="bce", steps=1, qat_steps=2, windows=3, batch=4, learning_rate=0.5),
        quantization=QuantizationOptions(group_size=32, clipping="mse", sincnet="int8"),
        iterations=2,
        seed=3,
    )


def origins_of(fixed: dict[str, object], variant: str | None = None) -> list[str]:
    points = parse({"fixed": fixed}, "a file").fixed_points_for(variant)
    return [fixed.origin for fixed in points[1:]]


def test_table_2_waits_for_its_variant() -> None:
    assert origins_of({"precisions": ["fp16"]}) == []
    assert origins_of({"precisions": ["fp16"]}, "Linear-40") == ["paper:table2:FP16"]
    assert origins_of({"precisions": ["fp16"], "table2_variant": "Both-50"}) == ["paper:table2:FP16"]


@pytest.mark.parametrize(
    ("fixed", "candidates"),
    [
        ({"tables": ["table1"]}, ()),
        ({"tables": ["table2"]}, tuple(TABLE1)[1:]),
        ({"tables": ["table2"], "variants": ["Baseline"]}, tuple(TABLE1)[1:]),
        ({"tables": ["table2"], "variants": ["Both-50", "Hidden-20"]}, ("Both-50", "Hidden-20")),
        ({"tables": ["table1", "table2"], "variants": ["Both-50"]}, (*tuple(TABLE1)[1:], "Both-50")),
        ({"tables": ["table2"], "table2_variant": "Hidden-40"}, ("Hidden-40",)),
    ],
)
def test_candidates_for_table_2(fixed: dict[str, object], candidates: tuple[str, ...]) -> None:
    assert parse({"fixed": fixed}, "a file").candidates == candidates


def test_a_choice_on_eval_measures_table_1_first() -> None:
    told = origins_of({"precisions": ["fp16"], "table2_variant": "eval"}, "Linear-40")
    assert told == [*(f"paper:table1:{variant}" for variant in TABLE1), "paper:table2:FP16"]


def test_quickstart_stays_quick() -> None:
    definition = find("quickstart")[1]
    assert definition.space.chunk_length[0] >= 0.1
    points = definition.fixed_points_for(None)
    assert min(fixed.point.chunk_length for fixed in points) >= 0.1
    assert definition.trials >= 12
    assert len(points) == 9
    assert not definition.chooses
    # 180 s of audio, 12 ms a window, one window each C: the fixed points alone, in seconds
    assert sum(180 / fixed.point.chunk_length * 0.012 for fixed in points) < 60


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
        ("[space]\npruning_ratio = [0.0, 0.5]", ["space.pruning_ratio", "0.05 <= low"]),
        ("[space]\npruning_ratio = [0.1, 0.43]", ["space.pruning_ratio", "multiples of 0.05"]),
        ("[space]\nmode = 'offline'\nchunk_length = 0.5", ["space: the offline mode", "leave chunk_length out"]),
        ("[space]\nmode = 'offline'\n[limits]\nlatency = 1.0", ["leave limits.latency out"]),
        ("[space]\nmode = 'offline'\n[fixed]\nright_context = [0.5]", ["paper:figure1:R=0.5", "chunk-wise"]),
        ("[recovery]\nmethod = 'magic'", ["recovery.method = 'magic'", "distill"]),
        ("[recovery]\nsteps = -1", ["recovery.steps = -1"]),
        ("[quantization]\nsincnet = 'int4'", ["quantization.sincnet = 'int4'"]),
        ("[pruning]\niterations = 0", ["pruning.iterations = 0"]),
        ("[fixed]\ntables = ['table3']", ["fixed.tables.0 = 'table3'", "table1"]),
        ("[fixed]\nvariants = ['Wide-40']", ["fixed.variants", "'Wide-40'", "Hidden-40"]),
        ("[fixed]\nvariants = ['Hidden-43']", ["fixed:Hidden-43", "0.43 is not a multiple of 0.05"]),
        ("[fixed]\ntable2_variant = 'test'", ["fixed.table2_variant = 'test'", "Hidden-40"]),
        ("[fixed]\ntable2_variant = 'Baseline'", ["fixed.table2_variant = 'Baseline'", "calib, eval"]),
        (
            "[space]\npruning_structure = ['none', 'hidden']\n[fixed]\ntables = ['table2']",
            ["paper:table2:FP32", "pruning_structure = 'linear'"],
        ),
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
    with pytest.raises(
        StudyError, match="chunk_length, joint, online, pruning, quantization, quickstart, right_context"
    ):
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


def test_what_a_file_leaves_out() -> None:
    assert StudyDefinition().model_dump(mode="json") == {
        "description": "", "corpus": "ami-excerpts", "split": "eval", "sampler": "tpe", "seed": 0, "trials": 50,
        "timeout": None, "stop_after_failures": 5,
        "space": {
            "mode": "streaming", "tracking": ["chunk-wise"], "chunk_length": [0.02, 5.0],
            "look_ahead": ["none", "some"], "right_context": [0.01, 5.0],
            "pruning_structure": ["none", "hidden", "linear", "both"], "pruning_ratio": [0.05, 0.95],
            "precision": ["fp32", "fp16", "int8_ptq", "int8_qat", "int4_ptq", "int4_qat"],
            "tau_active": None, "rho_update": None, "delta_new": None, "min_duration_off": None,
        },
        "fixed": {
            "sweeps": [], "chunk_length": [], "right_context": [], "tables": [], "variants": [], "precisions": [],
            "table2_variant": "calib",
        },
        "models": {
            "segmentation": "pyannote/segmentation-3.0", "embedding": "campplus", "clustering_threshold": None,
            "speakers": None,
        },
        "pruning": {"iterations": 4},
        "recovery": {
            "method": "distill", "steps": 120, "qat_steps": 60, "windows": 480, "batch": 8, "learning_rate": 0.001
        },
        "quantization": {"group_size": 0, "clipping": "none", "sincnet": "fp32"},
        "cost": {"repeats": 3, "threads": 1},
        "limits": {"latency": None, "der": None, "size": None, "rtf": None},
        "racing": {"enabled": True, "alpha": 0.01},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "expected"), [("2", (2, 2)), ("[2, 4]", (2, 4)), ("[3, 3]", (3, 3)), ("1", (1, 1))]
)
def test_the_number_of_speakers_is_one_number_or_two(written: str, expected: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"[models]\nspeakers = {written}\n")
    definition = read(path)
    assert definition.models.speakers == expected
    assert definition.evaluator_settings().speakers == expected
    assert definition.identity() != StudyDefinition().identity()
    assert definition.vary("a test", trials=1).models.speakers == expected  # through JSON, as in the database


@pytest.mark.parametrize(
    "written", ["0", "-1", "[3, 2]", "[0, 2]", "[2, 3, 4]", "[2]", "[]", "2.5", "true", '"2-3"', "[2, 3.5]", "[[2], 3]"]
)
def test_numbers_of_speakers_that_cannot_be_are_refused(written: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"[models]\nspeakers = {written}\n")
    with pytest.raises(StudyError) as error:
        read(path)
    value = "True" if written == "true" else written.replace('"', "'")
    assert str(error.value) == (
        f"{path}: models.speakers = {value}: give a number from 1 up, or the least and the most, such as [2, 3]"
    )


@pytest.mark.parametrize(
    ("tracking", "origins"),
    [
        (["chunk-wise"], ["baseline", "paper:figure1:R=0.5", "fixed:C=0.3", "paper:table1:Hidden-20"]),
        (["online"], ["baseline", "online:figure1:R=0.5", "online:C=0.3", "paper:table1:Hidden-20"]),
        (
            ["chunk-wise", "online"],
            ["baseline", "paper:figure1:R=0.5", "fixed:C=0.3", "online:baseline", "online:figure1:R=0.5",
             "online:C=0.3", "paper:table1:Hidden-20"],
        ),
    ],
)  # fmt: skip
def test_fixed_points_for_each_way_of_tracking(tracking: list[str], origins: list[str]) -> None:
    fixed = {"right_context": [0.5], "chunk_length": [0.3], "variants": ["Hidden-20"], "precisions": ["fp16"]}
    space = {"tracking": tracking} | ({"tau_active": 0.4} if "online" in tracking else {})
    found = parse({"fixed": fixed, "space": space}, "a file").fixed_points_for("Hidden-20")
    assert [one.origin for one in found] == [*origins, "paper:table2:FP16"]
    for one in found:
        online = one.origin.startswith("online:") or tracking == ["online"]
        assert one.point.mode == ("online" if online else "chunk-wise")
        assert one.point.online.tau_active == (0.4 if online else None)


@pytest.mark.parametrize("table", ["limits", "racing", "cost", "recovery"])
def test_ends_of_what_may_be_written(table: str) -> None:
    """The least that is taken, and what is just too little."""
    least: dict[str, dict[str, tuple[float, float]]] = {
        "limits": dict.fromkeys(("latency", "der", "size", "rtf"), (1e-9, 0.0)),
        "racing": {"alpha": (0.0, -1e-9)},
        "cost": {"repeats": (3, 2), "threads": (1, 0)},
        "recovery": {
            "steps": (0, -1),
            "qat_steps": (0, -1),
            "windows": (1, 0),
            "batch": (1, 0),
            "learning_rate": (1e-9, 0.0),
        },
    }
    for name, (taken, refused) in least[table].items():
        assert getattr(getattr(parse({table: {name: taken}}, "a file"), table), name) == taken
        with pytest.raises(StudyError, match=rf"{table}\.{name} = "):
            parse({table: {name: refused}}, "a file")
    with pytest.raises(StudyError, match=r"racing\.alpha = 1"):
        parse({"racing": {"alpha": 1.0}}, "a file")


def test_identity_leaves_out_budget_and_remarks() -> None:
    plain, other = StudyDefinition(), parse({"trials": 1, "timeout": 2.0, "description": "x"}, "a file")
    assert plain.identity() == other.identity()
    assert plain.identity() != parse({"seed": 1}, "a file").identity()
    assert plain.identity()["space.chunk_length"] == [0.02, 5.0]


def test_a_point_named_twice_is_measured_once() -> None:
    definition = parse({"fixed": {"sweeps": ["figure1"], "right_context": [0.5]}}, "a file")
    origins = [fixed.origin for fixed in definition.fixed_points_for(None)]
    assert origins.count("paper:figure1:R=0.5") == 1
    assert len(origins) == 10
