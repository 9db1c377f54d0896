"""Cases in a process that may die of them: `python -m tests.fuzz.child FOLDER SEED JOBS`, JOBS being JSON:
[[format, first case, number of cases], …].

Two lines of JSON for each case: [format, case] when it begins, so that whoever reads them knows of which the process
died, and its outcome.
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path

ROOM = 6 * 2**30  # bytes of address space: a header that announces more than there is shows as a MemoryError
GREEDY = 1024  # MiB by which a case of some kilobytes may not raise what the process holds


def main() -> None:
    from tests.fuzz.campaign import FORMATS
    from tests.fuzz.cases import Outcome, run_case

    folder, seed, jobs = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    known = {format.name: format for format in FORMATS}
    for name, first, count in jobs:
        place = folder / str(list(known).index(name))
        place.mkdir()
        prepared = known[name].prepare(place)
        held = _held()
        for case in range(first, first + count):
            print(json.dumps([name, case]), file=answers)
            outcome = run_case(known[name], prepared, place, seed, case)
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
