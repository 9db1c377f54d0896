"""Kill model builds, downloads, exports, reports and workers at random moments: `python -m tests.faults.kill_builds`.

Prints how often, what was found afterwards, and all that should not have been; ends with 1 where there was any.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from explorer.bundle.bundle import describe_file, read_bundle
from explorer.report.report import PAGE
from objectives.machine import LOCK_VARIABLE
from objectives.operating_point import BASELINE
from tests.faults.killing import Tally, export, kill_builds, kill_downloads, kill_writers, report
from tests.faults.killing_workers import kill_workers
from tests.objectives.cache.test_assets import local_index, local_registry
from tests.support.export_study import make_exports
from tests.support.real_excerpts import lasting_stopwatches, write_excerpts

TRAIN = ("trn03", "trn06")


def corpus_to_build_from(folder: Path) -> Path:
    """12 s of each of a few recordings, two of them to train on."""
    folder.mkdir()
    write_excerpts(folder, test=TRAIN)
    splits = json.loads((folder / "splits.json").read_text())
    splits["train"] = splits.pop("test")
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def builds(kills: int, folder: Path, seed: int) -> list[Tally]:
    """Of models, their graphs, and the caches of a corpus."""
    return [kill_builds(kills, corpus_to_build_from(folder / "corpus"), folder, seed)]


def downloads(kills: int, folder: Path, seed: int) -> list[Tally]:
    """From an index that is a folder, and a Hub that cannot be reached."""
    with pytest.MonkeyPatch.context() as patch:
        return [kill_downloads(kills, local_registry(local_index(folder, patch)), seed)]


def exports(kills: int, folder: Path, seed: int) -> list[Tally]:
    """Of a bundle and of a report of a real study, with --force and without."""
    corpus, made = folder / "corpus", folder / "made"
    corpus.mkdir()
    made.mkdir()
    with lasting_stopwatches():
        study = make_exports(write_excerpts(corpus), made)
        study.evaluator.stopwatch.close()
    tallies = []
    for what, is_whole in ((export, check_bundle), (report, check_report)):
        place = folder / what.__name__
        place.mkdir()
        tallies.append(kill_writers(what, kills, (study.url, study.trials[BASELINE]), place, is_whole, seed))
    return tallies


def check_bundle(folder: Path) -> None:
    """A bundle is whole: every file that it names is there, and is what it says."""
    files = read_bundle(folder).manifest.files
    assert files, "a bundle names its files"
    assert {name: describe_file(folder / name) for name in files} == dict(files)


def check_report(folder: Path) -> None:
    """A report is whole: its page ends, and its marker, which is written last, is there."""
    assert (folder / PAGE).read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert json.loads((folder / "report.json").read_text())["study"] == "study"


def workers(kills: int, folder: Path, seed: int) -> list[Tally]:
    """Of `--jobs 2`, and their timing processes."""
    corpus = folder / "corpus"
    corpus.mkdir()
    return [kill_workers(kills, write_excerpts(corpus), seed)]


KINDS: dict[str, Callable[[int, Path, int], list[Tally]]] = {
    "build": builds,
    "download": downloads,
    "export": exports,
    "worker": workers,
}


def main() -> int:
    """Run what is asked for; 1 where something was found that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--what", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    tallies: list[Tally] = []
    for name in KINDS if arguments.what == "all" else [arguments.what]:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[LOCK_VARIABLE] = f"{folder}/locks"  # nobody else waits
            tallies += KINDS[name](arguments.kills, Path(folder), arguments.seed)
    if arguments.format == "json":
        print(json.dumps([vars(tally) for tally in tallies], indent=2))
    else:
        for tally in tallies:
            print(f"{tally.what}: {tally.kills} killed, {tally.finished} finished")
            for outcome, count in sorted(tally.outcomes.items()):
                print(f"  {outcome}: {count}")
            for wrong in tally.wrong:
                print(f"  WRONG: {wrong}")
    return 1 if any(tally.wrong for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
