"""All cases of a format, in this process or, where what decodes is not Python, in another one that may die."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.fuzz.binary_formats import BINARY_FORMATS
from tests.fuzz.cases import Format, Outcome, run_case
from tests.fuzz.stored_formats import STORED_FORMATS
from tests.fuzz.text_formats import TEXT_FORMATS

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS: tuple[Format, ...] = (*TEXT_FORMATS, *STORED_FORMATS, *BINARY_FORMATS)
BEGINS = 180.0  # seconds to import and prepare, on a loaded machine
PATIENCE = 60.0  # seconds of one case, after which it hangs


def run_format(format: Format, folder: Path, seed: int, first: int, count: int) -> list[Outcome]:
    """Cases `first` … of a seed. folder: an empty one."""
    if not format.native:
        prepared = format.prepare(folder)
        return [run_case(format, prepared, folder, seed, case) for case in range(first, first + count)]
    outcomes: list[Outcome] = []
    while len(outcomes) < count:
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            outcomes += _until_it_dies(format, Path(fresh), seed, first + len(outcomes), count - len(outcomes))
    return outcomes


def _until_it_dies(format: Format, folder: Path, seed: int, first: int, count: int) -> list[Outcome]:
    """Outcomes of a process, the last one that of the case that it died of, if it did."""
    arguments = [format.name, str(seed), str(first), str(count), str(folder)]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", *arguments],
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
        outcomes: list[Outcome] = []
        case: int | None = None
        while True:
            try:
                line = lines.get(timeout=BEGINS if case is None else PATIENCE)
            except queue.Empty:
                child.kill()
                return [*outcomes, Outcome(first if case is None else case, "hung")]
            if line is None:
                break
            told = json.loads(line)
            if isinstance(told, int):
                case = told
            else:
                outcomes.append(Outcome(**told))
        if len(outcomes) == count:
            return outcomes
        status = child.wait()
        said.seek(0)
        assert case is not None, f"the process ended before its first case: {said.read()[-3000:]}"
        return [*outcomes, Outcome(case, "crashed", f"status {status}: {said.read()[-1500:]}")]


def _read(stream: "object", lines: "queue.Queue[str | None]") -> None:
    for line in stream:  # type: ignore[attr-defined]
        lines.put(line)
    lines.put(None)
