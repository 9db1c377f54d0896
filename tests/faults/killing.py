"""Kill processes at random moments, and look at what they leave behind."""

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

from filelock import FileLock, Timeout

from explorer.bundle.export import export_trial
from explorer.report.report import write_report
from explorer.storage.connection import load_study
from objectives.cache.assets import Asset, assets_dir, fetch, state, verify
from objectives.cache.files import CACHE_VARIABLE
from objectives.cache.model_cleaning import stored_models
from objectives.compression.compressor import Compressor
from objectives.compression.settings import CompressionSettings, RecoverySettings
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.corpora.sources import load_corpus
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.models.embedding_loading import load_embedding
from objectives.models.segmentation import DEFAULT_SEGMENTATION, segmentation_checkpoint
from objectives.operating_point import OperatingPoint, Precision, Pruning
from objectives.runtime.torch_runtime import open_runtime
from objectives.streaming.clustering import ClusteringSettings
from tests.support.forked_processes import start

PATIENCE = 300.0  # seconds for what nobody kills
SMALL = CompressionSettings(RecoverySettings(steps=2, qat_steps=2, windows=4, batch=2), iterations=2)
POINT = OperatingPoint(1.0, 0.5, Pruning("linear", 0.4), "int8_qat")
_TEMPORARY = re.compile(r"(?P<name>\..+)\.\w{8}\.\w+")


@dataclass
class Tally:
    """What came of kills. outcomes: what was found after each, and how often. wrong: what must not be."""

    what: str
    kills: int = 0
    finished: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, killed: bool, outcomes: Mapping[str, int], wrong: list[str]) -> None:
        """After a process that was killed, or that finished before it could be."""
        self.kills += killed
        self.finished += not killed
        self.outcomes.update(outcomes)
        self.wrong += wrong


def killed(process: ForkProcess, after: float) -> bool:
    """Kill a process without warning after so many seconds, unless it ends well before; whether it was killed."""
    process.join(after)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"it ended with {process.exitcode} by itself"
    return process.exitcode != 0


def undisturbed(target: Callable[..., object], *arguments: object) -> float:
    """Run it to its end in a process of its own; the seconds that it took."""
    began = time.monotonic()
    process = start(target, *arguments)
    process.join(PATIENCE)
    assert process.exitcode == 0, f"it ended with {process.exitcode}"
    return time.monotonic() - began


def held_locks(folder: Path) -> list[str]:
    """Locks that somebody holds, of all files below a folder."""
    held = []
    for path in folder.rglob("*.lock"):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            held.append(f"{path.name} is held")
    return held


# --- a model build, with what is derived from it and the caches of a corpus


def build(cache: Path, corpus: Path, precision: Precision) -> None:
    """A pruned, recovered, low-bit model; its graph; and the windows and features of a recording."""
    os.environ[CACHE_VARIABLE] = str(cache)
    recordings = load_corpus(str(corpus))
    base = segmentation_checkpoint(DEFAULT_SEGMENTATION)
    compressor = Compressor(base, SMALL, TrainingData(recordings), CalibrationData(recordings))
    model = compressor.finish(POINT.pruning, precision)
    runtime = open_runtime(model, threads=1)
    embedding = load_embedding("campplus")
    plane = AccuracyPlane(embedding, ClusteringSettings(embedding.threshold), lanes=1)
    plane.errors(recordings.split("eval")[:1], POINT, model.key, runtime, lambda fraction: None)


def whole_files(cache: Path) -> dict[str, bytes]:
    """Content of what bears its final name; of the store's sidecars, which tell times, only that they are there."""
    files = [path for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(cache)): b"" if path.suffix == ".json" else path.read_bytes() for path in files}


def after_build(cache: Path, expected: Mapping[str, bytes], finished: bool) -> tuple[dict[str, int], list[str]]:
    """What lies in a cache, and what of it must not."""
    found = whole_files(cache)
    wrong = [f"{name} is not what it should be" for name in found if found[name] != expected.get(name)]
    with cached_in(cache):
        entries = stored_models()
    states = Counter(f"model {entry.state}" for entry in entries)
    wrong += [
        f"{entry.key} {entry.damage}"
        for entry in entries
        if entry.state == "being made" or (entry.state == "damaged" and "is missing" not in entry.damage)
    ]
    names = [match["name"] for path in cache.rglob(".*") if (match := _TEMPORARY.fullmatch(path.name))]
    wrong += [f"{count} half files of {name}" for name, count in Counter(names).items() if count > 1]
    wrong += held_locks(cache)
    if finished:
        wrong += [f"{name} is missing" for name in expected if name not in found]
        wrong += [f"half a file of {name} is left" for name in names]
        wrong += [f"{entry.key} is {entry.state}" for entry in entries if entry.state != "whole"]
    return {**states, "half files": len(names), "whole files": len(found)}, wrong


class cached_in:
    """The cache lies elsewhere for a while."""

    def __init__(self, folder: Path):
        self._folder, self._before = folder, os.environ.get(CACHE_VARIABLE)

    def __enter__(self) -> None:
        os.environ[CACHE_VARIABLE] = str(self._folder)

    def __exit__(self, *error: object) -> None:
        if self._before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = self._before


def new_cache(folder: Path, quick: bool = False) -> Path:
    """A cache with the assets of the one in use alone. quick: with the embedding's graph too, the longest to make."""
    folder.mkdir(parents=True)
    (folder / "assets").mkdir()
    for asset in assets_dir().iterdir():
        if not asset.name.startswith("."):
            (folder / "assets" / asset.name).symlink_to(asset)
    if quick:
        graph = load_embedding("campplus").network
        (folder / "models").mkdir()
        (folder / "models" / graph.name).symlink_to(graph)
    return folder


def kill_builds(kills: int, corpus: Path, folder: Path, seed: int, quick: bool = False) -> Tally:
    """Kill a build again and again until it is done, and begin anew until so many kills are spent.

    quick: of a model whose quantization is not trained, with the embedding's graph there from the start.
    """
    moments, tally = random.Random(seed), Tally("build")
    precision: Precision = "int8_ptq" if quick else POINT.precision
    reference = new_cache(folder / "undisturbed", quick)
    seconds = undisturbed(build, reference, corpus, precision)
    expected = whole_files(reference)
    assert len(expected) > 8, f"models, graph, windows and features: {sorted(expected)}"
    rounds = 0
    while tally.kills < kills:
        cache = new_cache(folder / f"round-{(rounds := rounds + 1)}", quick)
        gone = False
        while not gone and tally.kills < kills:
            gone = not killed(start(build, cache, corpus, precision), moments.uniform(0.0, seconds))
            tally.add(not gone, *after_build(cache, expected, gone))
        if not gone:
            undisturbed(build, cache, corpus, precision)
            tally.add(False, *after_build(cache, expected, finished=True))
    return tally


# --- a download


def download(registry: Mapping[str, Asset]) -> None:
    """Fetch two assets, one of them with pip's own build of metadata; in a group of its own, with what it starts."""
    os.setsid()
    for name in registry:
        fetch(name, registry=registry)


def kill_downloads(kills: int, registry: Mapping[str, Asset], seed: int) -> Tally:
    """Kill downloads at random moments. The cache in use is taken to be empty, and the package index to be local."""
    moments, tally = random.Random(seed), Tally("download")
    seconds = undisturbed(download, registry)
    while tally.kills < kills:
        for asset in registry.values():
            for file in asset.files:
                asset.path_of(file).unlink(missing_ok=True)
        done = False
        while not done and tally.kills < kills:
            process = start(download, registry)
            done = not killed(process, moments.uniform(0.0, seconds))
            if moments.random() < 0.5 and process.pid is not None:
                with suppress(ProcessLookupError):  # else the pip that it had started goes on beside the next one
                    os.killpg(process.pid, signal.SIGKILL)
            states = Counter(f"asset {state(name, registry=registry)}" for name in registry)
            wrong = ["an asset is damaged"] if states["asset damaged"] else []
            attempts = len(list((assets_dir() / ".staging").glob("*/attempt-*")))
            wrong += [f"{attempts} attempts are left"] if attempts > len(registry) else []
            tally.add(not done, {**states, "attempts left": attempts}, wrong + held_locks(assets_dir()))
        undisturbed(download, registry)
        for name in registry:
            verify(name, registry=registry)
        left = [path.name for path in (assets_dir() / ".staging").iterdir()]
        tally.add(False, {"asset verified": len(registry)}, [f"{name} is left" for name in left])
    return tally


# --- an export, a report


def export(url: str, number: int, target: Path, force: bool) -> None:
    """What `explorer export` does."""
    export_trial(load_study("study", url), number, target, force)


def report(url: str, number: int, target: Path, force: bool) -> None:
    """What `explorer report` does."""
    write_report(load_study("study", url), target, force)


def content(folder: Path) -> dict[str, bytes] | None:
    """All files below a folder; None where there is none."""
    if not folder.exists():
        return None
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_writers(
    what: Callable[[str, int, Path, bool], None],
    kills: int,
    study: tuple[str, int],
    folder: Path,
    is_whole: Callable[[Path], object],
    seed: int,
) -> Tally:
    """Kill what writes a folder: into an empty place and, every second time, over the folder that is there."""
    moments, tally = random.Random(seed), Tally(what.__name__)
    target = folder / "made"
    seconds = undisturbed(what, *study, target, False)
    before = content(target)
    while tally.kills < kills:
        force = target.exists()
        process = start(what, *study, target, force)
        done = not killed(process, moments.uniform(0.0, seconds))
        now = content(target)
        outcome = "nothing" if now is None else "the old one" if now == before else "a new one"
        wrong = [] if now is not None or before is None else ["the old one is gone"]
        if outcome == "a new one":
            is_whole(target)
        hidden = [path.name for path in folder.iterdir() if path != target]
        wrong += [f"{len(hidden)} folders are left" for _ in range(len(hidden) > 1)]
        wrong += [f"{name} is not hidden" for name in hidden if not name.startswith(".")]
        tally.add(not done, {f"{outcome}{' (--force)' if force else ''}": 1, "left hidden": len(hidden)}, wrong)
        if now is not None and moments.random() < 0.5:  # next time into an empty place
            for path in sorted(target.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            target.rmdir()
        before = content(target)
    undisturbed(what, *study, target, target.exists())
    is_whole(target)
    left = [path.name for path in folder.iterdir() if path != target]
    tally.add(False, {"whole in the end": 1}, [f"{name} is left" for name in left])
    return tally
