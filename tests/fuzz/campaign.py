"""All cases of a format, in this process or, where what decodes is not Python, in another one that may die."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fuzz.binary_formats import BINARY_FORMATS
from tests.fuzz.cache_formats import CACHE_FORMATS
from tests.fuzz.cases import Format, Outcome, run_case
from tests.fuzz.stored_formats import STORED_FORMATS
from tests.fuzz.text_formats import TEXT_FORMATS
from tests.fuzz.trial_formats import TRIAL_FORMATS

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS: tuple[Format, ...] = (*TEXT_FORMATS, *STORED_FORMATS, *TRIAL_FORMATS, *CACHE_FORMATS, *BINARY_FORMATS)
BEGINS = 180.0  # seconds of one case, or to import and prepare, on a loaded machine; after which it hangs


def run_formats(formats: Sequence[Format], folder: Path, seed: int, first: int, count: int) -> dict[str, list[Outcome]]:
    """Cases `first` … of a seed, by format. folder: an empty one."""
    found: dict[str, list[Outcome]] = {}
    for place, format in enumerate(formats):
        if not format.native:
            own = folder / f"here{place}"
            own.mkdir()
            prepared = format.prepare(own)
            cases = range(first, first + count)
            found[format.name] = [run_case(format, prepared, own, seed, case) for case in cases]
    native = [format.name for format in formats if format.native]
    found |= {name: [] for name in native}
    while jobs := [(name, first + len(found[name]), count - len(found[name])) for name in native]:
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            for name, outcome in _until_it_dies(Path(fresh), seed, jobs):
                found[name].append(outcome)
        native = [name for name in native if len(found[name]) < count]
    return found


def _until_it_dies(folder: Path, seed: int, jobs: Sequence[tuple[str, int, int]]) -> list[tuple[str, Outcome]]:
    """Outcomes of a process, the last one that of the case that it died of, if it did."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(folder), str(seed), json.dumps(jobs)],
            cwd=ROOT,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        outcomes: list[tuple[str, Outcome]] = []
        begun: tuple[str, int] | None = None
        while True:
            try:
                line = lines.get(timeout=BEGINS)
            except queue.Empty:
                child.kill()
                assert begun is not None, "the process never began"
                return [*outcomes, (begun[0], Outcome(begun[1], "hung"))]
            if line is None:
                break
            told = json.loads(line)
            if isinstance(told, list):
                begun = told[0], told[1]
            else:
                assert begun is not None
                outcomes.append((begun[0], Outcome(**told)))
        status = child.wait()
        if status == 0:
            return outcomes
        said.seek(0)
        ended = f"status {status}: {said.read()[-1500:]}"
        assert begun is not None, ended
        assert not outcomes or (outcomes[-1][0], outcomes[-1][1].case) != begun, ended  # it died between two cases
        return [*outcomes, (begun[0], Outcome(begun[1], "crashed", ended))]


def _read(stream: Iterable[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
