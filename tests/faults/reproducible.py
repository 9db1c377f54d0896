"""The same study again and again, everything made anew: the same models, sizes and errors to the last digit?

    python -m tests.faults.reproducible --runs 2

Runs a small real study (a pruned model, quantization-aware training, random search) in fresh storages and caches: on
one job, on two, on other numbers of threads, in another language, time zone and order of hashes, with the corpus
elsewhere, and killed in the middle and resumed. Prints what differs.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from objectives.cache.assets import assets_dir
from objectives.cache.files import CACHE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("trn00", "trn01", "trn03")
STUDY = """
corpus = "{corpus}"
sampler = "random"
seed = 3
trials = 2
[racing]
enabled = false
[cost]
repeats = 3
[space]
precision = ["fp32", "int8_ptq", "int8_qat"]
pruning_structure = ["none", "hidden"]
chunk_length = [0.5, 5.0]
[pruning]
iterations = 1
[recovery]
steps = 4
qat_steps = 3
windows = 8
[fixed]
variants = ["Hidden-40"]
precisions = ["int8_qat"]
table2_variant = "Hidden-40"
"""
FIXED = 3  # the baseline, the variant and its precision
OTHERWISE = {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}


def fresh_cache(folder: Path) -> Path:
    """An empty cache that has the assets."""
    folder.mkdir(parents=True)
    (folder / "assets").symlink_to(assets_dir().resolve(), target_is_directory=True)
    return folder


def files_made(cache: Path) -> dict[str, str]:
    """SHA-256 of every model, graph, feature and window, by its name."""
    folders = ("models", "features", "recovery", "windows")
    suffixes = (".bin", ".safetensors", ".onnx", ".npy", ".npz")
    found = [path for name in folders for path in sorted((cache / name).rglob("*")) if path.suffix in suffixes]
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def told(url: str) -> dict[int, dict[str, Any]]:
    """What must be the same of each trial of a study, by number."""
    from explorer.storage.connection import load_study

    keys = ("model_key", "model_sha256", "params", "size_bytes", "kept_units", "recordings", "der", "data", "origin")
    return {
        trial.number: {
            "params": trial.params,
            "values": trial.values and trial.values[:2],
            **{key: trial.user_attrs.get(key) for key in keys},
        }
        for trial in load_study("study", url).get_trials(deepcopy=False)
        if trial.state.is_finished()
    }


class Place:
    """A folder in which a study is run on its own."""

    def __init__(self, folder: Path, corpus: Path, **environment: str):
        self.folder, self.cache = folder, fresh_cache(folder / "cache")
        (folder / "study.toml").write_text(STUDY.format(corpus=corpus))
        unset = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
        self._environment = {**unset, CACHE_VARIABLE: str(self.cache), "PYTHONPATH": str(ROOT), **environment}

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/explorer.db"

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "explorer", *words]
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=log, stderr=log, text=True)

    def run(self, *words: str) -> int:
        return self.start(*words).wait()


def kill_after(place: Place, trials: int) -> None:
    """Run the study until so many trials are finished, and kill it."""
    process = place.start("run", "study.toml")
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if (place.folder / "explorer.db").exists() and _finished(place) >= trials:
                break
    finally:
        process.kill()
        process.wait()


def _finished(place: Place) -> int:
    from objectives.errors import StudyError

    try:
        return len(told(place.url))
    except StudyError:
        return 0


def differences(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[str]:
    """Where two mappings differ."""
    return [str(key) for key in {**one, **other} if one.get(key) != other.get(key)]


def campaign(folder: Path) -> list[tuple[str, int, list[str]]]:
    """(what was done, trials compared, what differs from the first run)."""
    from tests.support.real_excerpts import write_excerpts

    corpus = write_excerpts(folder / "here" / "corpus", train=TRAIN)
    elsewhere = folder / "elsewhere" / "corpus"
    elsewhere.mkdir(parents=True)
    for path in sorted(corpus.iterdir(), reverse=True):
        shutil.copy(path, elsewhere)
    first = Place(folder / "first", corpus)
    assert first.run("run", "study.toml") == 0, (first.folder / "log").read_text()
    known, files = told(first.url), files_made(first.cache)
    cases = {
        "again": (Place(folder / "again", corpus), ()),
        "one thread": (Place(folder / "one", corpus, OMP_NUM_THREADS="1"), ()),
        "three threads": (Place(folder / "three", corpus, OMP_NUM_THREADS="3"), ()),
        "two jobs": (Place(folder / "two", corpus), ("--jobs", "2")),
        "elsewhere, in another language and time zone": (Place(folder / "other", elsewhere, **OTHERWISE), ()),
    }
    answers = []
    for name, (place, words) in cases.items():
        assert place.run("run", "study.toml", *words) == 0, (place.folder / "log").read_text()
        answers.append(
            (name, len(known), differences(known, told(place.url)) + differences(files, files_made(place.cache)))
        )
    killed = Place(folder / "killed", corpus)
    kill_after(killed, 2)
    assert killed.run("run", "study.toml") == 0, (killed.folder / "log").read_text()
    points = {one["origin"]: one for one in known.values() if one["origin"] != "search"}
    again = {one["origin"]: one for one in told(killed.url).values() if one["origin"] != "search" and one["values"]}
    answers.append(("killed and resumed: its fixed points", FIXED, differences(points, again)))
    verified = first.run("verify", "study", "--all", "--remake")
    answers.append(("verify --all --remake", len(known), [] if verified == 0 else [(first.folder / "log").read_text()]))
    return answers


def main() -> None:
    """Print a line for each case of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1)
    wrong = 0
    for number in range(parser.parse_args().runs):
        with tempfile.TemporaryDirectory() as folder:
            for name, trials, differing in campaign(Path(folder)):
                wrong += bool(differing)
                print(json.dumps({"run": number, "case": name, "trials": trials, "differing": differing}), flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
