"""Print what a corpus leaves out. Each command that loads a corpus does so once."""

import sys
from collections.abc import Iterable


def print_remarks(remarks: Iterable[str]) -> None:
    """Print each remark on a line of standard error, so that it does not mix with output that a program reads."""
    for remark in remarks:
        print(f"corpus: {remark}", file=sys.stderr)
