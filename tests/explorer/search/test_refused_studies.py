"""Studies that cannot be run are refused before their first trial: nothing is left behind, and the reason is told."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest

from explorer.cli import main
from tests.support.corpora import write_recording

CASES = {
    "an unknown key": ("trails = 5\n", ["unknown key trails", "use one of", "trials"]),
    "an unknown key of a table": ("[space]\nchunk_lenght = 1.0\n", ["unknown key space.chunk_lenght", "chunk_length"]),
    "objectives, which are fixed": ('objectives = ["der", "der"]\n', ["unknown key objectives", "use one of"]),
    "a range upside down": ("[space]\nchunk_length = [2.0, 0.5]\n", ["space.chunk_length = [2.0, 0.5]", "low <= high"]),
    "R beyond the window": ("[space]\nright_context = [0.1, 9.0]\n", ["space.right_context = [0.1, 9.0]", "<= 5"]),
    "a fixed R beyond the window": ("[fixed]\nright_context = [9.0]\n", ["right context R = 9 s", "[0.01, 5]"]),
    "a choice twice": ('[space]\nprecision = ["fp32", "fp32"]\n', ["space.precision", "each once"]),
    "a fixed value twice": ("[fixed]\nchunk_length = [0.5, 0.5]\n", ["fixed.chunk_length", "repeats", "once"]),
    "a key twice": ("trials = 1\ntrials = 2\n", ["is not TOML", "line 2"]),
    "a wrong type": ('trials = "many"\n', ["trials = 'many'", "integer"]),
    "an unknown split": ('corpus = "{calls}"\nsplit = "evaluation"\n', ["no recording in split 'evaluation'", "train"]),
    "a corpus without eval": ('corpus = "{calls}"\n', ["no recording in split 'eval'", "train (1)"]),
    "no such corpus": ('corpus = "{calls}/gone"\n', ["unknown corpus", "no such folder"]),
    "no such model": (
        'corpus = "{calls}"\nsplit = "train"\n[models]\nsegmentation = "gone.bin"\n',
        ["gone.bin", "no such file"],
    ),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose recordings are all in train and calib."""
    folder = tmp_path_factory.mktemp("calls")
    for uri in ("a", "b"):
        write_recording(folder, uri)
    (folder / "splits.json").write_text(json.dumps({"train": ["a"], "calib": ["b"]}))
    return folder


def commands(runs: list[tuple[Path, list[str]]]) -> list[tuple[str, object]]:
    """Commands one after the other, each in a folder: what stderr says, and the exit code. A bug is raised."""
    told: list[tuple[str, object]] = []
    for folder, arguments in runs:
        with (
            contextlib.chdir(folder),
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            patch.setattr(sys, "argv", ["explorer", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
        told.append((said.getvalue(), end.value.code))
    return told


def test_a_study_that_cannot_run_is_refused_before_its_first_trial(tmp_path: Path, calls: Path) -> None:
    runs = []
    for number, (text, _) in enumerate(CASES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mine.toml").write_text(text.replace("{calls}", str(calls)))
        runs.append((folder, ["run", "mine.toml", "--trials", "1"]))
    for (name, (_, parts)), (folder, _), (said, code) in zip(CASES.items(), runs, commands(runs), strict=True):
        assert code == 1, (name, said)
        assert said.count("error:") == 1, (name, said)
        assert all(part in said for part in parts), (name, said)
        assert [path.name for path in folder.iterdir()] == ["mine.toml"], name
