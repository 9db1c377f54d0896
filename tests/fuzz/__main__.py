"""Load files that are nearly right, thousands of them: `python -m tests.fuzz --cases 1000 [--only NAME] [--seed S]`.

Prints what became of them by format, and what ought not to have been.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.campaign import FORMATS, run_formats
from tests.fuzz.cases import Outcome

KINDS = ("valid", "refused", "escaped", "poor", "crashed", "hung", "greedy")
ROW = "{:24} {:>6}" + " {:>8}" * len(KINDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", action="append", choices=[format.name for format in FORMATS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="messages to show of each kind")
    asked = parser.parse_args()
    unsound = 0
    print(ROW.format("format", "cases", *KINDS))
    for format in FORMATS:
        if asked.only and format.name not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run_formats([format], Path(folder), asked.seed, asked.first, asked.cases)[format.name]
        kinds = Counter(outcome.kind for outcome in outcomes)
        print(ROW.format(format.name, len(outcomes), *(kinds[kind] for kind in KINDS)))
        wrong = [outcome for outcome in outcomes if not outcome.sound]
        unsound += len(wrong)
        for outcome in _unlike(wrong)[: asked.show]:
            print(f"--- case {outcome.case}, {outcome.kind}: {outcome.told[-1500:]}")
        if asked.only and asked.show > 3:
            for outcome in _unlike([one for one in outcomes if one.kind == "refused"])[: asked.show]:
                print(f"  {outcome.case}: {outcome.told[:400]}")
        sys.stdout.flush()
    return 1 if unsound else 0


def _unlike(outcomes: list[Outcome]) -> list[Outcome]:
    """One of each sort: their ends, digits and values aside, are alike."""
    sorts: dict[str, Outcome] = {}
    for outcome in outcomes:
        last = outcome.told.strip().splitlines()[-1] if outcome.kind == "escaped" and outcome.told else outcome.told
        sorts.setdefault(outcome.kind + "".join(letter for letter in last if letter.isalpha())[:60], outcome)
    return list(sorts.values())


if __name__ == "__main__":
    sys.exit(main())
