"""What a trial's DER costs, beside the stock pyannote.audio pipeline. Run it on a machine that does nothing else.

    python -m tests.benchmarks.trial --repeats 5 --out trial.json
    python -m tests.benchmarks.trial --corpus FOLDER --split eval --threshold 0.55 --account

Wall seconds per second of audio of one trial's accuracy (FP32), with the same two models, scorer and threshold:

- stock: pyannote.audio's SpeakerDiarization (torch, a thread a core), whatever the trial, since it keeps nothing;
- ours, cold: no decoded audio, no features, no windows; what a study pays once;
- ours, warm: decoded audio and features kept, no windows; what a trial with a new model or new window ends pays;
- ours, windows kept: another operating point of the study or an earlier one asked for them.

All of them read (cold and stock) or hold (the others) the audio, diarize and score. Not included, for anybody: start of
the process, imports, fetching, exporting and loading of models, and a first recording that warms them up. Ours and
stock live in processes of their own and take turns, repeat by repeat; ours keeps what it keeps in a temporary cache, so
that the user's is neither used nor touched. Files are in the system's page cache for both.

With --chunk-lengths, how the cost grows as C shrinks. With --account, the offline mode's DER beside stock's and where
the difference comes from (tests/benchmarks/stock.py).
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from objectives import machine
from objectives.cache.assets import fetch
from objectives.cache.files import CACHE_VARIABLE, cache_dir
from objectives.corpora.corpus import Recording
from objectives.corpora.sources import load_corpus
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.scoring import score
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import ErrorCounts, pool
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OperatingPoint
from tests.benchmarks.stock import STOCK, Account, account, diarize_stock, load_stock

POINT = OperatingPoint(1.0, 0.5)
FEATURES, WINDOWS = "features", "windows"  # folders of the cache
COLD, WARM, KEPT = "cold", "warm", "windows kept"


@dataclass(frozen=True)
class Job:
    """What everybody diarizes.

    threshold: of ours, None to find speakers by silhouette. stock_threshold: of the stock pipeline.
    """

    corpus: str
    split: str
    threshold: float | None
    stock_threshold: float
    embedding_batch: int


@dataclass(frozen=True)
class Run:
    """One pass over all recordings. seconds: of wall. counts: errors by recording."""

    seconds: float
    counts: Mapping[str, ErrorCounts]


@dataclass(frozen=True)
class Row:
    """One line of the table: one repeat or more of the same. ratio: stock's seconds over these, repeat by repeat."""

    name: str
    runs: Sequence[Run]
    audio: float
    stock: Sequence[Run] = ()

    @property
    def costs(self) -> list[float]:
        """Wall seconds per second of audio."""
        return [run.seconds / self.audio for run in self.runs]

    @property
    def ratios(self) -> list[float]:
        """How many times faster than stock."""
        return [other.seconds / own.seconds for own, other in zip(self.runs, self.stock, strict=bool(self.stock))]

    @property
    def errors(self) -> ErrorCounts:
        """Pooled; every repeat has the same, or the benchmark is void."""
        first, *others = (pool(run.counts.values()) for run in self.runs)
        assert all(abs(other.seconds - first.seconds) < 1e-6 for other in others), f"{self.name}: repeats differ"
        return first

    def as_json(self) -> dict[str, Any]:
        """Everything that the table shows, and every repeat."""
        return {
            "name": self.name,
            "seconds_per_audio_second": {"median": median(self.costs), "repeats": self.costs},
            "times_faster_than_stock": {"median": median(self.ratios), "repeats": self.ratios} if self.stock else None,
            **errors_as_json(self.errors),
        }


# of the process that `prepare_…` made ready
_evaluator: Evaluator
_stock: Callable[[Recording], ErrorCounts]
_recordings: tuple[Recording, ...]


def prepare_ours(job: Job) -> None:
    """Load models and warm them up, as `explorer run` would with one job."""
    global _evaluator
    _evaluator = build_evaluator(EvaluatorSettings(job.corpus, job.split, clustering_threshold=job.threshold))
    _evaluator.accuracy.errors(
        _evaluator.recordings[:1], POINT, "warm-up", _evaluator.runtime(BASELINE), lambda fraction: None
    )


def run_ours(point: OperatingPoint, state: str) -> Run:
    """One trial's errors, once what does not belong to that state is forgotten."""
    if state == COLD:
        forget(FEATURES)
        plane = _evaluator.accuracy
        _evaluator.accuracy = AccuracyPlane(plane.embedding, plane.clustering, plane.lanes)
    if state != KEPT:
        forget(WINDOWS)
    if state != COLD:
        _evaluator.prepare()  # nothing to do where a pass came before
    started = time.perf_counter()
    counts = _evaluator.errors(point)
    return Run(time.perf_counter() - started, counts)


def forget(folder: str) -> None:
    """Delete what is kept there: the cache of a process of ours is temporary."""
    shutil.rmtree(cache_dir() / folder, ignore_errors=True)


def prepare_stock(job: Job) -> None:
    """Load the stock pipeline and warm it up."""
    global _stock, _recordings
    torch.set_num_threads(machine.cores())
    _recordings = load_corpus(job.corpus).split(job.split)
    pipeline = load_stock(job.stock_threshold, job.embedding_batch)

    def errors(recording: Recording) -> ErrorCounts:
        return score(recording.reference, diarize_stock(pipeline, recording.waveform()), recording.annotated)

    _stock = errors
    errors(_recordings[0])


def run_stock() -> Run:
    """All recordings, one after the other."""
    started = time.perf_counter()
    counts = {recording.uri: _stock(recording) for recording in _recordings}
    return Run(time.perf_counter() - started, counts)


def ready() -> int:
    """Nothing: the initializer came before."""
    return os.getpid()


class Contenders:
    """The two processes. Only one works at a time."""

    def __init__(self, job: Job, with_stock: bool):
        def process(prepare: Callable[[Job], None]) -> ProcessPoolExecutor:
            pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(job,))
            pool.submit(ready).result()
            return pool

        self._ours = process(prepare_ours)
        self._stock = process(prepare_stock) if with_stock else None

    def ours(self, point: OperatingPoint, state: str) -> Run:
        """See run_ours."""
        return self._ours.submit(run_ours, point, state).result()

    def stock(self) -> Run:
        """See run_stock."""
        assert self._stock is not None
        return self._stock.submit(run_stock).result()

    def __enter__(self) -> "Contenders":
        return self

    def __exit__(self, *_: object) -> None:
        for process in filter(None, (self._ours, self._stock)):
            process.shutdown()


def race(contenders: Contenders, repeats: int, audio: float, tick: Callable[[], None]) -> list[Row]:
    """Benchmark 1: ours and stock in turns."""
    passes = [
        *((f"ours, {state}", POINT, state) for state in (COLD, WARM, KEPT)),
        *((f"ours, offline mode, {state}", OFFLINE_BASELINE, state) for state in (COLD, WARM)),
    ]
    stock: list[Run] = []
    runs: dict[str, list[Run]] = {name: [] for name, *_ in passes}
    for _ in range(repeats):
        stock.append(contenders.stock())
        tick()
        for name, point, state in passes:
            runs[name].append(contenders.ours(point, state))
            tick()
    return [Row(STOCK, stock, audio), *(Row(name, runs[name], audio, stock) for name, *_ in passes)]


def growth(
    contenders: Contenders, chunk_lengths: Sequence[float], repeats: int, audio: float, tick: Callable[[], None]
) -> list[tuple[float, Row, Row]]:
    """Benchmark 2: each chunk length with fresh windows, and with kept ones."""
    points = {length: OperatingPoint(length, POINT.right_context) for length in chunk_lengths}
    fresh: dict[float, list[Run]] = {length: [] for length in points}
    kept: dict[float, list[Run]] = {length: [] for length in points}
    for _ in range(repeats):
        for length, point in points.items():
            fresh[length].append(contenders.ours(point, WARM))
            kept[length].append(contenders.ours(point, KEPT))
            tick()
    return [(length, Row(WARM, fresh[length], audio), Row(KEPT, kept[length], audio)) for length in points]


def errors_as_json(errors: ErrorCounts) -> dict[str, float]:
    """In percent."""
    kinds = ("false_alarm", "missed_detection", "confusion")
    return {"der": errors.der, **{kind: errors.percent(getattr(errors, kind)) for kind in kinds}}


def spread(values: Sequence[float], digits: int) -> str:
    """Median (min–max)."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def kinds(errors: ErrorCounts) -> str:
    """DER = false alarm + missed detection + confusion."""
    told = errors_as_json(errors)
    return " / ".join(f"{told[kind]:.1f}" for kind in ("false_alarm", "missed_detection", "confusion"))


def race_table(rows: Sequence[Row], title: str) -> Table:
    """For people."""
    table = _table(title, "", "s / s of audio (min–max)", "x stock (min–max)", "DER %", "FA / miss / confusion")
    for row in rows:
        ratio = spread(row.ratios, 1) if row.stock else "1"
        table.add_row(row.name, spread(row.costs, 4), ratio, f"{row.errors.der:.2f}", kinds(row.errors))
    return table


def growth_table(rows: Sequence[tuple[float, Row, Row]], title: str) -> Table:
    """For people."""
    table = _table(title, "C s", "fresh windows, s / s of audio", "windows kept", "DER %", "FA / miss / confusion")
    for length, fresh, kept in rows:
        table.add_row(
            f"{length:g}", spread(fresh.costs, 4), spread(kept.costs, 4), f"{fresh.errors.der:.2f}", kinds(fresh.errors)
        )
    return table


def account_table(accounts: Sequence[Account], title: str) -> Table:
    """For people. Recordings whose errors differ from stock's by more than 1 % of their speech are named."""
    stock = {one.name: one for one in accounts}[STOCK]
    reference = pool(stock.counts.values()).der
    table = _table(title, "offline mode", "DER %", "– stock", "unlike stock %", "recordings that differ, points of DER")
    for one in accounts:
        der = pool(one.counts.values()).der
        apart = {uri: counts.percent(counts.seconds - stock.counts[uri].seconds) for uri, counts in one.counts.items()}
        named = sorted((item for item in apart.items() if abs(item[1]) > 1), key=lambda item: -abs(item[1]))
        table.add_row(
            one.name,
            f"{der:.2f}",
            f"{der - reference:+.2f}",
            f"{one.unlike_stock.der:.2f}",
            ", ".join(f"{uri} {points:+.1f}" for uri, points in named[:4]) + (", …" if len(named) > 4 else ""),
        )
    return table


def account_as_json(one: Account) -> dict[str, Any]:
    """With every recording."""
    return {
        "name": one.name,
        **errors_as_json(pool(one.counts.values())),
        "unlike_stock_percent": one.unlike_stock.der,
        "recordings": {uri: asdict(counts) for uri, counts in one.counts.items()},
    }


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


@contextmanager
def temporary_cache() -> Iterator[None]:
    """A cache of one's own, the pinned assets being the user's."""
    for asset in ("ami-excerpts", "campplus", "segmentation-3.0"):
        fetch(asset)
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="explorer-benchmark-") as folder:
        (Path(folder) / "assets").symlink_to(cache_dir() / "assets")
        os.environ[CACHE_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE_VARIABLE)
            if before is not None:
                os.environ[CACHE_VARIABLE] = before


def measure(given: argparse.Namespace, split: str, console: Console) -> dict[str, Any]:
    """All that is asked of one split, printed and returned."""
    with build_evaluator(EvaluatorSettings(given.corpus, split, clustering_threshold=given.threshold)) as evaluator:
        recordings, plane = evaluator.recordings, evaluator.accuracy
        threshold = plane.clustering.offline_threshold(plane.embedding.threshold)
        job = Job(given.corpus, split, given.threshold, threshold, given.embedding_batch)
        audio = sum(recording.duration for recording in recordings)
        name = f"{load_corpus(given.corpus).name}, {split}: {len(recordings)} recordings, {audio:.0f} s"
        told: dict[str, Any] = {
            "corpus": load_corpus(given.corpus).name,
            "split": split,
            "recordings": len(recordings),
            "audio_seconds": audio,
            "threshold": threshold,
            "clustering": plane.clustering.words,
        }
        with Progress(console=console, transient=True) as progress:
            steps = 6 * given.repeats + len(given.chunk_lengths) * given.chunk_repeats
            task = progress.add_task(name, total=steps + len(recordings) * given.account)

            def tick() -> None:
                progress.advance(task)

            with Contenders(job, with_stock=given.repeats > 0) as contenders:
                if given.repeats:
                    rows = race(contenders, given.repeats, audio, tick)
                    title = f"{name}; C {POINT.chunk_length:g} s, R {POINT.right_context:g} s, {given.repeats} repeats"
                    console.print(race_table(rows, title))
                    told["trial"] = [row.as_json() for row in rows]
                if given.chunk_lengths:
                    grown = growth(contenders, given.chunk_lengths, given.chunk_repeats, audio, tick)
                    console.print(growth_table(grown, f"{name}; R {POINT.right_context:g} s, features kept"))
                    told["chunk_lengths"] = [
                        {"chunk_length": length, "fresh": fresh.as_json(), "kept": kept.as_json()}
                        for length, fresh, kept in grown
                    ]
            if given.account:
                runtime = evaluator.runtime(BASELINE)
                accounts = account(recordings, runtime, plane.embedding, plane.clustering, tick)
                console.print(account_table(accounts, f"{name}; threshold {threshold:g}"))
                told["account"] = [account_as_json(one) for one in accounts]
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="ami-excerpts", help="as `explorer measure` takes it")
    parser.add_argument("--split", nargs="+", default=["eval", "all"])
    parser.add_argument(
        "--threshold",
        type=float,
        help="of the clustering; default: none, and the embedding's own of the stock pipeline",
    )
    parser.add_argument("--embedding-batch", type=int, default=1, help="stock's; 1 is the fastest on two cores")
    parser.add_argument("--repeats", type=int, default=3, help="of ours and stock in turns; 0 leaves them out")
    parser.add_argument("--chunk-lengths", type=float, nargs="*", default=[], help="such as 0.02 0.1 0.5 1 5")
    parser.add_argument("--chunk-repeats", type=int, default=1)
    parser.add_argument("--account", action="store_true", help="where the offline mode and stock part")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    if given.repeats < 0 or given.chunk_repeats < 1:
        parser.error("give 0 or more --repeats, and 1 or more --chunk-repeats")
    console = Console(width=150, highlight=False)
    load = f"{os.getloadavg()[0]:.1f}"
    about = {**machine.describe(), "pyannote.audio": version("pyannote.audio"), "load before": load}
    with temporary_cache():
        told = [measure(given, split, console) for split in given.split]
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    if given.out is not None:
        given.out.write_text(json.dumps({"machine": about, "results": told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
