"""`--trust`: who can grant it, what it grants, and how it reaches the processes that load checkpoints."""

import hashlib
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import objectives.evaluation.evaluator
from explorer.cli import app
from explorer.commands.options import trusted_files
from objectives.errors import ModelError, StudyError
from objectives.evaluation.settings import EvaluatorSettings
from tests.support.analytic_evaluator import small_study
from tests.support.hostile_pickles import among_training_state
from tests.support.real_excerpts import write_excerpts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_excerpts(tmp_path_factory.mktemp("corpus")))


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.fixture
def evil(tmp_path: Path, sentinel: Path) -> Path:
    path = tmp_path / "evil.bin"
    among_training_state(path, sentinel)
    return path


def explorer(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_command_runs_a_hostile_checkpoint(
    corpus: str, evil: Path, sentinel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for role in ("segmentation", "embedding"):
        (tmp_path / f"{role}.toml").write_text(f'corpus = "{corpus}"\ntrials = 0\n[models]\n{role} = "{evil}"\n')
    doors = [
        ("measure", "--corpus", corpus, "--segmentation", evil),
        ("measure", "--corpus", corpus, "--embedding", evil),
        ("calibrate", "--corpus", corpus, "--embedding", evil),
        ("run", tmp_path / "segmentation.toml"),
        ("run", tmp_path / "embedding.toml"),
    ]
    for door in doors:
        refusal = explorer(*door).exception
        assert isinstance(refusal, ModelError), door
        assert f"`--trust {sha256_of(evil)}`" in str(refusal)
    assert not sentinel.exists()


def test_a_checkpoint_that_is_named_runs_and_serves(corpus: str, evil: Path, sentinel: Path) -> None:
    done = explorer("measure", "--corpus", corpus, "--segmentation", evil, "--trust", evil, "--precision", "int3")
    assert "int3" in str(done.exception)
    assert not sentinel.exists(), "a point is looked at before a checkpoint"
    with objectives.evaluation.evaluator.build_evaluator(
        EvaluatorSettings(corpus, segmentation=str(evil), trusted=trusted_files([str(evil)]))
    ):
        assert sentinel.exists()


def test_trust_is_given_by_path_or_by_hash_and_to_nothing_else(evil: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(evil)
    assert trusted_files(None) == frozenset()
    assert trusted_files([str(evil)]) == trusted_files([sha256]) == trusted_files([sha256.upper()]) == {sha256}
    for wrong in (sha256[:-1], str(tmp_path), str(tmp_path / "absent"), ""):
        with pytest.raises(ModelError, match=r"cannot be read .*its SHA-256"):
            trusted_files([wrong])


@pytest.mark.parametrize(
    "grant", ['trust = ["{0}"]', 'trusted = ["{0}"]', '[models]\ntrust = "{0}"', '[models]\ntrusted = ["{0}"]']
)
def test_a_study_cannot_grant_it(grant: str, evil: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(grant.format(sha256_of(evil)))
    refusal = explorer("run", study).exception
    assert isinstance(refusal, StudyError)
    assert "unknown key" in str(refusal)


def test_workers_are_told_by_the_driver_and_the_study_is_not(evil: Path, tmp_path: Path) -> None:
    trusted = trusted_files([str(evil)])
    settings = small_study().evaluator_settings(trusted=trusted)
    assert pickle.loads(pickle.dumps(settings)).trusted == trusted
    assert small_study().evaluator_settings().trusted == frozenset()
    assert "trust" not in small_study().model_dump_json()


@pytest.mark.parametrize("command", ["run", "measure", "calibrate", "export", "recommend"])
def test_every_command_that_loads_a_checkpoint_can_be_told(command: str) -> None:
    assert "--trust" in explorer(command, "--help").stdout


@pytest.mark.parametrize("command", ["front", "status", "report", "dashboard", "diarize", "corpus", "assets", "models"])
def test_no_other_can(command: str) -> None:
    assert "--trust" not in explorer(command, "--help").stdout
