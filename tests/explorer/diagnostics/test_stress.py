"""`explorer stress`: by hand, and on real recordings and models."""

import dataclasses
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from explorer.cli import app
from explorer.diagnostics import stress as stressing
from explorer.diagnostics.stress import Answer, Grid, answer, stress
from explorer.diagnostics.stress_results import stressed_trials
from explorer.statistics.differences import points_in_words
from explorer.storage.bulk_sql import refuse_read_only
from explorer.storage.connection import load_study
from explorer.storage.trial_record import errors_of
from objectives.cache.scratch import passing_cache
from objectives.corpora.simulation.speakers import Source, Voices, speech_folder, spoken_alone
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import summarize_recordings
from objectives.errors import AssetError, CorpusError, StudyError
from objectives.evaluation.evaluator import Evaluator
from objectives.operating_point import OperatingPoint
from tests.faults.disks import fill, on_read_only, on_small_disk
from tests.support.analytic_evaluator import measurement
from tests.support.corpora import write_audio
from tests.support.export_study import LOW_BIT, real_definition, real_study, real_trial, tell
from tests.support.recommendation_study import add, empty_study
from tests.support.speech_bursts import write_voices
from tests.support.stress_results import kept, stressed

GRID = Grid(overlaps=(0.0, 0.2), noises=(None, 10.0), speakers=(2, 2), minutes=0.24, length=0.12)

Passed = dict[Path, dict[str, list[Path]]]  # folder of a cell → what was in it at the end, by kind

# --- by hand


def test_a_grid_is_in_order_and_means_something() -> None:
    grid = Grid(overlaps=(0.2, 0.0, 0.2), noises=(5.0, None, 20.0))
    assert (grid.overlaps, grid.noises) == ((0.0, 0.2), (None, 20.0, 5.0))
    for wrong in ({"overlaps": (0.7,)}, {"noises": ()}, {"overlaps": (0.1,), "speakers": (1, 1)}, {"minutes": 0.0}):
        with pytest.raises(CorpusError):
            Grid(**wrong)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="11 × 10 cells"):
        Grid(overlaps=tuple(place / 100 for place in range(11)), noises=tuple(map(float, range(10))))


def test_cells_are_compared_with_the_first_and_with_the_other_trial() -> None:
    ours = stressed(3, [10.0] * 12, [12.0] * 12, [14.0, 16.0] * 6, [30.0] * 12)
    theirs = stressed(0, [8.0, 12.0] * 6, [10.0] * 12, [20.0] * 12, [20.0] * 12)
    told = answer("study", ours, theirs)
    assert told.added[0] is None
    assert [round(one.points, 6) for one in told.added[1:] if one] == [2.0, 5.0, 20.0]
    assert [(round(one.points, 6), one.tied) for one in told.apart] == [
        (0.0, True),
        (2.0, False),
        (-5.0, False),
        (10.0, False),
    ]
    assert told.said[0].startswith(
        "From overlap 0 %, no noise to overlap 0 %, noise at 10 dB the DER of trial 3 goes from"
    )
    assert "goes from 10.00 to 15.00 %: +5.00 [" in told.said[1]
    assert told.said[2] == (
        "Beside trial 0, trial 3 has the higher DER in 2 of 4 cells, the lower in 1, and in 1 the recordings cannot "
        "tell them apart."
    )
    assert told.caveats == (
        "simulated: conversations made up of 3 people of calls (by hand), who do not listen to one another; the noise "
        "of their own recordings is in every cell",
    )


def test_what_makes_it_hard_to_believe_is_told() -> None:
    few = stressed(3, [1.0], [1.0], [1.0], [1.0], rounds=4)
    off = dataclasses.replace(
        few, cells=(*few.cells[:2], *(dataclasses.replace(c, overlap_share=0.1) for c in few.cells[2:]))
    )
    said = " ".join(answer("study", off, None).caveats)
    beside = answer("study", few, stressed(0, [9.0], [9.0], [9.0], [1.0]))
    assert "higher DER in 0 of 4 cells, the lower in 0, and in 4 the recordings cannot tell" in beside.said[-1]
    for needle in ("a single recording", "used up to 4 times over", "the overlap that came out is 10.0 % for 20 %"):
        assert needle in said


def test_what_is_kept_is_read_again_and_damage_is_named() -> None:
    study = empty_study()
    ours, theirs = stressed(12, [1.0], [2.0], [3.0], [4.0]), stressed(3, [1.0], [2.0], [3.0], [4.0])
    kept(study, ours, theirs)
    study.set_user_attr("stress:of something else", "1")
    assert stressed_trials(study) == (theirs, ours)

    def damaged(change: object) -> str:
        told = json.loads(json.dumps(ours.as_json()))
        change(told)  # type: ignore[operator]
        study.set_user_attr(ours.key, json.dumps(told))
        with pytest.raises(StudyError) as error:
            stressed_trials(study)
        return str(error.value)

    assert "a DER of 9, and of its recordings together 1" in damaged(lambda told: told["cells"][0].update(der=9.0))
    assert "not those of its grid" in damaged(lambda told: told["cells"].pop())
    assert "KeyError: 'cells'" in damaged(lambda told: told.pop("cells"))
    assert "it would be kept as 'stress:4:" in damaged(lambda told: told.update(trial=4))
    assert "it would be kept as" in damaged(lambda told: told["conditions"].update(seed=7))
    assert f"its attribute {ours.key!r}" in damaged(lambda told: told["cells"][1]["recordings"].update(other={}))


# --- on real models


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three people of AMI meetings say alone."""
    folder = tmp_path_factory.mktemp("voices")
    recordings = {one.audio: one for one in load_corpus("ami-excerpts").split("all")}
    sources = spoken_alone("ami", recordings.values()).sources
    for person in ("FEE078", "FEE083", "MÉO069"):
        for number, part in enumerate(sources[person][:2]):
            sound = recordings[part.path].waveform()[round(part.start * 16000) : round(part.stop() * 16000)]
            write_audio(folder / person / f"{number}.wav", sound)
    return folder


@pytest.fixture(scope="module")
def study_and_evaluator(
    excerpts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[optuna.Study, Evaluator]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('stressed')}/studies.db"
    study, evaluator = real_study(real_definition(excerpts), url)
    for point in (LOW_BIT, dataclasses.replace(LOW_BIT, precision="fp32")):
        real_trial(study, evaluator, point)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("explorer.diagnostics.measured_trials.build_evaluator", lambda settings: evaluator)
        yield study, evaluator


@pytest.fixture(scope="module")
def passed() -> Passed:
    return {}


@pytest.fixture(scope="module")
def told(study_and_evaluator: tuple[optuna.Study, Evaluator], speech: Path, passed: Passed) -> Answer:
    @contextmanager
    def watched() -> Iterator[Path]:
        with passing_cache() as folder:
            yield folder
            endings = {"conversations": "*.wav", "features": "*.npy", "windows": "*.npz"}
            passed[folder] = {name: [*(folder / name).rglob(end)] for name, end in endings.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stressing, "passing_cache", watched)
        return stress(study_and_evaluator[0], 0, GRID, speech, against=1)


def test_each_cell_is_what_its_conversations_give(
    told: Answer, study_and_evaluator: tuple[optuna.Study, Evaluator], speech: Path, tmp_path: Path
) -> None:
    """Recordings of all cells have the same URIs: nothing that one of them left behind may serve another."""
    evaluator = study_and_evaluator[1]
    voices = speech_folder(speech)
    scripts, _ = stressing._scripts(voices, GRID)
    heard = hashlib.sha256()
    assert [(cell.overlap, cell.noise) for cell in told.stressed.cells] == [(0, None), (0, 10), (0.2, None), (0.2, 10)]
    for place, cell in enumerate(told.stressed.cells):
        folder = tmp_path / str(place)
        share, recordings = stressing._conversations(voices, GRID.settings(cell.overlap, cell.noise), scripts, folder)
        assert cell.overlap_share == pytest.approx(share)
        for one in recordings:
            heard.update(f"{one.uri} {one.content_hash}\n".encode())
        with passing_cache():
            counts = dataclasses.replace(evaluator, recordings=recordings).errors(LOW_BIT)
        assert {uri: errors_of(one) for uri, one in counts.items()} == cell.recordings
        summaries = summarize_recordings(load_corpus(folder))
        spoken = sum(one.speech + one.overlap for one in summaries)
        if place == 0:
            said = spoken
        assert spoken == pytest.approx(said)  # the same words in every cell
        assert cell.der == pytest.approx(cell.false_alarm + cell.missed_detection + cell.confusion)
    assert len({cell.der for cell in told.stressed.cells}) > 2
    assert told.stressed.cells[2].overlap_share > 0.1
    assert told.stressed.conditions["recordings"] == heard.hexdigest()  # of every sample of every cell


def test_the_study_keeps_it_and_its_trials_stay(
    told: Answer, study_and_evaluator: tuple[optuna.Study, Evaluator]
) -> None:
    study = study_and_evaluator[0]
    assert told.against is not None
    assert stressed_trials(study) == (told.stressed, told.against)
    assert told.stressed.conditions == told.against.conditions
    assert [trial.number for trial in study.trials] == [0, 1]
    assert not any("stress" in key for trial in study.trials for key in trial.user_attrs)
    assert "speech" in told.stressed.conditions
    assert "/" not in json.dumps(told.stressed.conditions["speech"]).replace("SPEAKER/CHAPTER", "")


def test_the_speech_is_the_studys_own_by_default(study_and_evaluator: tuple[optuna.Study, Evaluator]) -> None:
    """Two excerpts of 12 s: too little, which is told with what would be enough."""
    with pytest.raises(CorpusError, match=r"people say 3 s or more alone, and conversations are of 9: .*--speech DIR"):
        stress(study_and_evaluator[0], 0, dataclasses.replace(GRID, speakers=(2, 9)))


def test_another_model_corpus_or_trial_is_refused(
    study_and_evaluator: tuple[optuna.Study, Evaluator], speech: Path
) -> None:
    study = empty_study(real_definition(Path("any")))
    with pytest.raises(StudyError, match=r"trial 0 of 'study' cannot be compared: .*corpus: analytic → "):
        stress(study, tell(study, measurement(LOW_BIT)), GRID, speech)
    study = empty_study(real_definition(Path("any")))
    study.set_user_attr("identity", "{}")
    with pytest.raises(StudyError, match="ran the model model-int8_ptq, and the same settings make "):
        stress(study, tell(study, dataclasses.replace(measurement(LOW_BIT), data={})), GRID, speech)
    with pytest.raises(StudyError, match="no trial 9"):
        stress(study, 0, GRID, speech, against=9)
    with pytest.raises(StudyError, match="trial 0 against itself: give another trial with --against"):
        stress(study, 0, GRID, speech, against=0)
    assert stressed_trials(study) == ()


def test_nothing_of_the_conversations_is_left(told: Answer, passed: Passed) -> None:
    """What was made of them was kept in their own folder: features of two recordings, windows of two models."""
    assert len(passed) == len(told.stressed.cells)
    for folder, found in passed.items():
        assert [len(found[name]) for name in ("conversations", "features", "windows")] == [2, 2, 4]
        assert not folder.exists()


def test_a_process_that_is_told_to_end_leaves_no_speech(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    add(empty_study(url=url), [1.0], point=OperatingPoint(2.0))
    left: list[Path] = []

    def told_to_end(*given: object) -> None:
        with passing_cache() as folder:
            left.append(folder)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    monkeypatch.setattr("explorer.diagnostics.stress.stress", told_to_end)
    done = CliRunner().invoke(app, ["stress", "study", "0", "--storage", url])
    assert done.exit_code == 143
    assert len(left) == 1
    assert not left[0].exists()


def test_a_full_disk_is_named_and_nothing_is_left(
    study_and_evaluator: tuple[optuna.Study, Evaluator],
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(disk: Path) -> None:
        monkeypatch.setenv("EXPLORER_CACHE", str(disk))
        (disk / "spare").write_bytes(bytes(64 * 1024))  # for folders, and the beginning of a recording
        fill(disk)
        (disk / "spare").unlink()
        with pytest.raises(AssetError, match=r"cannot be kept: .*No space left on device; make room") as caught:
            stressing._scored(study_and_evaluator[1], {0: LOW_BIT}, speech_folder(speech), GRID, lambda *word: None)
        assert "\n" not in str(caught.value)
        assert [path.name for path in (disk / "fresh").iterdir()] == []

    on_small_disk(tmp_path / "disk", "1m", body)


def test_a_study_that_may_only_be_read_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    url = f"sqlite:///{disk}/studies.db"
    study = empty_study(real_definition(Path("any")), url)
    number = tell(study, measurement(LOW_BIT))
    refuse_read_only(study)
    before = (disk / "studies.db").read_bytes()

    def body(disk: Path) -> None:
        with pytest.raises(
            StudyError, match=r"cannot be written: it may only be read \(.*\): permit writing"
        ) as caught:
            stress(load_study("study", url), number, GRID)
        assert "\n" not in str(caught.value)

    on_read_only(disk, body)
    assert (disk / "studies.db").read_bytes() == before


def test_a_storage_that_cannot_be_written_is_named(
    told: Answer, study_and_evaluator: tuple[optuna.Study, Evaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_and_evaluator[0]

    def refuse(*words: object) -> None:
        raise optuna.exceptions.StorageInternalError("read-only")

    monkeypatch.setattr(study._storage, "set_study_user_attr", refuse)
    with pytest.raises(StudyError, match="cannot be kept in the study"):
        stressing._keep(study, told.stressed)


def test_the_command_prints_a_table_and_json(told: Answer, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    study = empty_study(url=url)
    add(study, [1.0], point=OperatingPoint(2.0))
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("explorer.diagnostics.stress.stress", lambda *given: (asked.append(given), told)[1])
    words = ["stress", "study", "0", "--against", "1", "--overlap", "0.2,0", "--noise", "10,none", "--storage", url]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert told.added[3] is not None
    for needle in (
        "against trial 1",
        points_in_words(told.added[3]),
        points_in_words(told.apart[0]),
        *told.said,
        *told.caveats,
    ):
        assert needle in shown.stdout
    assert asked[0][2].overlaps == (0.0, 0.2)  # type: ignore[attr-defined]
    said = json.loads(CliRunner().invoke(app, [*words, "--format", "json"]).stdout)
    assert said == json.loads(json.dumps(dataclasses.asdict(told)))
    assert set(said["stressed"]["cells"][0]["recordings"]) == {"stress000", "stress001"}
    wrong = CliRunner().invoke(app, ["stress", "study", "0", "--overlap", "much", "--storage", url])
    assert "overlap 'much': give shares" in str(wrong.exception)
    assert "--against" in CliRunner().invoke(app, ["stress", "--help"]).output


def test_silent_people_take_no_part(tmp_path: Path) -> None:
    shown: list[float] = []

    def enough(voices: Voices) -> list[str]:
        return list(stressing._with_enough(voices, GRID, False, lambda stage, done: shown.append(done)).sources)

    voices = speech_folder(write_voices(tmp_path, 3, seconds=4.0))  # 1.46 s twice, in two files: 5.8 s
    assert enough(voices) == ["p00", "p01", "p02"]
    assert shown == [0, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    quiet = {**voices.sources, "p00": voices.sources["p00"][:1]}
    assert enough(dataclasses.replace(voices, sources=quiet)) == ["p01", "p02"]


def test_no_more_is_listened_to_than_it_takes(tmp_path: Path) -> None:
    """Two files of 1.46 s, twice each, are enough: the third one, which is no audio, is not opened."""
    voices = speech_folder(write_voices(tmp_path, 3, seconds=4.0))
    broken = Source("p00/2.wav", tmp_path / "2.wav")
    broken.path.write_bytes(b"no audio")
    parts = voices.sources["p00"]
    assert stressing._says_enough("p00", (*parts, broken))
    with pytest.raises(CorpusError, match=r"2\.wav"):
        stressing._says_enough("p00", (*parts[:1], broken))
