"""Cases of one format in a process that may die of them: `python -m tests.fuzz.child NAME SEED FIRST COUNT FOLDER`.

A line of JSON for each outcome, after one with the number of the case that begins, so that whoever reads them knows of
which case the process died.
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path

ROOM = 12 * 2**30  # bytes of address space: a header that announces more than there is shows as a MemoryError
GREEDY = 1024  # MiB by which a case of some kilobytes may not raise what the process holds


def main() -> None:
    from tests.fuzz.campaign import FORMATS
    from tests.fuzz.cases import Outcome, run_case

    name, seed, first, count, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    (format,) = (format for format in FORMATS if format.name == name)
    prepared = format.prepare(Path(folder))
    held = _held()
    for case in range(int(first), int(first) + int(count)):
        print(json.dumps(case), file=answers)
        outcome = run_case(format, prepared, Path(folder), int(seed), case)
        now = _held()
        if now - held > GREEDY:
            outcome = Outcome(case, "greedy", f"{now - held} MiB: {outcome.kind} {outcome.told}")
        held = now
        print(json.dumps(asdict(outcome)), file=answers)


def _held() -> int:
    """Most MiB that the process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
