"""`explorer measure` and `explorer calibrate` on 12 s of real meetings."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner, Result

from explorer.commands.calibrate import calibrate
from explorer.commands.measure import measure
from objectives import machine
from objectives.compression.settings import CompressionSettings, Method, RecoverySettings
from objectives.errors import CorpusError, LeakageError, ModelError, OperatingPointError
from objectives.evaluation.evaluator import Evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import Measurement
from tests.support.real_excerpts import EVAL

app = typer.Typer()
app.command()(measure)
app.command()(calibrate)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def corpus(excerpts: Path) -> str:
    return str(excerpts)


def test_json_is_clean_and_complete(corpus: str) -> None:
    result = invoke("measure", "-C", "1", "-R", "0.2", "--corpus", corpus, "--repeats", "2", "--format", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["mode"], told["chunk_length"], told["right_context"], told["latency"]) == ("chunk-wise", 1.0, 0.2, 1.2)
    assert sorted(told["recordings"]) == sorted(EVAL)
    pooled = told["pooled"]
    parts = pooled["false_alarm"] + pooled["missed_detection"] + pooled["confusion"]
    assert pooled["der"] == pytest.approx(parts)
    assert pooled["scored_seconds"] == pytest.approx(
        sum(recording["scored_seconds"] for recording in told["recordings"].values())
    )
    assert told["size_mib"] == pytest.approx(5.63, abs=0.01)
    assert told["execution"] == "native"
    assert told["kernel"].startswith("onnxruntime ")
    rtf = told["rtf"]
    assert len(rtf["repeats"]) == len(rtf["baseline_repeats"]) == 2
    assert min(rtf["repeats"]) <= rtf["median"] <= max(rtf["repeats"])
    updates = told["update_latency"]
    assert updates["updates"] == 2 * 10  # 10 s of the 12, twice
    assert 0 < updates["median"] <= updates["p95"] <= updates["p99"]
    assert sum(told["stage_shares"].values()) == pytest.approx(1.0)
    assert set(told["stage_shares"]) == {"segmentation", "embedding", "clustering", "other"}
    if sys.platform == "linux":
        assert told["peak_memory_mib"] > 100
    assert told["machine"] == dict(machine.describe())


def test_table_has_a_line_for_each_recording_and_one_for_the_point(corpus: str) -> None:
    result = invoke("measure", "-C", "1", "--precision", "fp16", "--corpus", corpus, "--repeats", "2")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["recording", "DER", "%"]
    assert sorted(line.split()[0] for line in lines[1:4]) == sorted([*EVAL, "pooled"])
    assert all(len(line.split()) == 6 for line in lines[1:4])
    assert "C 1 s, R 0 s, latency 1 s, fp16 (emulated): 1.47 M parameters, 2.8" in lines[4]
    assert "over 2 repeats on 1 thread" in lines[4]
    assert re.match(r"an update takes [\d.]+ ms \(p95 [\d.]+, p99 [\d.]+, of 20\); compute: segmentation ", lines[5])


def test_the_offline_mode_has_size_and_rtf_and_no_latency(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured once, and told twice."""
    measure, known = Evaluator.measure, list[Measurement]()

    def measured(evaluator: Evaluator, *given: Any) -> Measurement:
        if not known:
            known.append(measure(evaluator, *given))
        return known[0]

    monkeypatch.setattr(Evaluator, "measure", measured)
    result = invoke("measure", "--offline", "--corpus", corpus, "--repeats", "2", "--format", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["mode"] == "offline"
    assert {"chunk_length", "right_context", "latency"}.isdisjoint(told)
    assert sorted(told["recordings"]) == sorted(EVAL)
    assert told["size_mib"] == pytest.approx(5.63, abs=0.01)
    assert len(told["rtf"]["repeats"]) == len(told["rtf"]["baseline_repeats"]) == 2
    shown = invoke("measure", "--offline", "--corpus", corpus, "--repeats", "2").stdout
    assert f"{told['pooled']['der']:.2f}" in shown
    *_, cost, where = shown.splitlines()
    assert where.startswith("compute: segmentation ")  # no updates
    assert told["update_latency"] is None
    assert cost.startswith(f"offline mode, fp32 (native): 1.47 M parameters, {told['size_mib']:.2f} MiB, RTF 0.")


def test_a_gpu_that_is_not_there_is_refused(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("measure", "--corpus", corpus, "--device", "cuda")
    assert isinstance(result.exception, ModelError)
    assert "device 'cuda'" in str(result.exception)
    assert f"<{'|'.join(machine.DEVICES)}>" in invoke("measure", "--help").output


def test_every_method_of_recovery_can_be_asked_for() -> None:
    assert f"<{'|'.join(get_args(Method))}>" in invoke("measure", "--help").output


@pytest.mark.parametrize(
    ("arguments", "recovery"),
    [
        ([], RecoverySettings()),
        (["--recovery", "bce", "--steps", "400", "--qat-steps", "0"], RecoverySettings("bce", steps=400, qat_steps=0)),
    ],
)
def test_options_of_recovery_reach_the_models(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], recovery: RecoverySettings
) -> None:
    asked: list[CompressionSettings] = []

    def note(settings: EvaluatorSettings) -> None:
        asked.append(settings.compression)
        raise CorpusError("far enough")

    monkeypatch.setattr("objectives.evaluation.evaluator.build_evaluator", note)
    assert str(invoke("measure", *arguments).exception) == "far enough"
    assert asked == [CompressionSettings(recovery=recovery)]


def test_calibrate_shows_the_sweep_and_the_threshold_to_write_down(
    corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.commands.calibrate.THRESHOLDS", (0.5, 0.8))
    told = json.loads(invoke("calibrate", "--corpus", corpus, "--format", "json").stdout)
    assert (told["corpus"], told["split"], told["mode"]) == (corpus, "calib", "chunk-wise")
    assert [point["threshold"] for point in told["sweep"]] == [0.5, 0.8]
    assert told["best"] in (0.5, 0.8)
    other = next(one for one in told["sweep"] if one["threshold"] != told["best"])
    assert other["der_difference"] == pytest.approx(
        other["der"] - next(one["der"] for one in told["sweep"] if one["threshold"] == told["best"])
    )
    assert (other["der_low"], other["tied"]) == (None, None)  # a single recording has no interval
    assert f"clustering_threshold = {told['best']:.2f}" in invoke("calibrate", "--corpus", corpus).stdout
    offline = json.loads(invoke("calibrate", "--corpus", corpus, "--offline", "--format", "json").stdout)
    assert offline["mode"] == "offline"


def test_calibrate_tunes_the_online_mode(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("objectives.evaluation.calibration.DELTA_NEW", (0.3, 0.4, 0.5))
    told = json.loads(invoke("calibrate", "--corpus", corpus, "--online", "--format", "json").stdout)
    assert (told["split"], told["mode"], len(told["sweep"])) == ("calib", "online", 2 * 3 * 3)
    assert told["best"]["delta_new"] == 0.4  # the only one with two neighbours
    assert "delta_new = 0.4" in invoke("calibrate", "--corpus", corpus, "--online").stdout
    assert "give one of them" in str(invoke("calibrate", "--online", "--offline").exception)


@pytest.mark.parametrize("command", ["measure", "calibrate"])
@pytest.mark.parametrize(("given", "expected"), [("2", (2, 2)), ("2-4", (2, 4)), ("1-1", (1, 1)), (None, None)])
def test_the_number_of_speakers_is_the_evaluators(
    command: str, given: str | None, expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[EvaluatorSettings] = []

    def build(settings: EvaluatorSettings) -> Evaluator:
        asked.append(settings)
        raise CorpusError("built")

    monkeypatch.setattr("objectives.evaluation.evaluator.build_evaluator", build)
    online = ["--online"] if command == "calibrate" else []
    invoke(command, *online, *(() if given is None else ("--speakers", given)))
    assert [settings.speakers for settings in asked] == [expected]


def test_calibrate_has_no_threshold_to_tune_for_a_known_number_of_speakers() -> None:
    result = invoke("calibrate", "--speakers", "2")
    assert isinstance(result.exception, OperatingPointError)
    assert "--speakers 2: a known number of speakers needs no threshold" in str(result.exception)


@pytest.mark.parametrize("command", ["measure", "calibrate"])
@pytest.mark.parametrize("value", ["0", "3-2", "x", "0-2", "2-", "-2", "2,3", "", "2.5", "10000"])
def test_numbers_of_speakers_that_cannot_be_are_refused(command: str, value: str) -> None:
    result = invoke(command, f"--speakers={value}")
    assert isinstance(result.exception, CorpusError)
    assert "--speakers" in str(result.exception)
    assert repr(value) in str(result.exception)
    assert "give a number from 1 up, or the fewest and the most, such as 2-3" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["-C", "9"], OperatingPointError, "chunk length C = 9 s"),
        (["-C", "nan"], OperatingPointError, "chunk length C = nan s"),
        (["-R", "-1"], OperatingPointError, "right context R = -1 s"),
        (["--precision", "int3"], OperatingPointError, "precision 'int3' is unknown"),
        (["--pruning", "heads"], OperatingPointError, "pruning structure 'heads' is unknown"),
        (["--pruning", "hidden"], OperatingPointError, "pruning ratio = 0 is outside"),
        (["--pruning", "hidden", "--ratio", "1"], OperatingPointError, "pruning ratio = 1 is outside"),
        (["--ratio", "0.4"], OperatingPointError, "pruning ratio = 0.4 needs a structure"),
        (["--offline", "-R", "0.5"], OperatingPointError, "leave C and R out"),
        (["--offline", "--online"], OperatingPointError, "give one of them"),
        (["--online", "--min-duration-off", "9"], OperatingPointError, "min_duration_off = 9"),
        (["--min-duration-off", "0.5"], OperatingPointError, "the online mode's"),
        (["--corpus", "nowhere"], CorpusError, "unknown corpus 'nowhere'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], error: type[Exception], message: str) -> None:
    result = invoke("measure", *arguments, "--format", "json")
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_calib_of_a_low_bit_model_is_refused(corpus: str) -> None:
    refusal = invoke("measure", "--corpus", corpus, "--split", "calib", "--precision", "int8_ptq").exception
    assert isinstance(refusal, LeakageError)
    assert "evaluate others" in str(refusal)


def test_a_file_that_is_no_model_is_refused_by_name(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"no model")
    refusal = invoke("measure", "--corpus", corpus, "--segmentation", str(tmp_path / "model.bin")).exception
    assert isinstance(refusal, ModelError)
    assert str(refusal).startswith(f"{tmp_path}/model.bin: ")


def test_a_user_sees_one_line_and_exit_status_1() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from explorer.cli import main; main()", "measure", "-C", "9"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: OperatingPointError: chunk length C = 9 s is outside the design space: use a value in [0.02, 5] s\n"
    )
