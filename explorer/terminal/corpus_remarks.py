"""What a corpus leaves out, said once by each command that loads one."""

import sys
from collections.abc import Iterable


def print_remarks(remarks: Iterable[str]) -> None:
    """Print each on a line of standard error, where it does not mix with what a program reads."""
    for remark in remarks:
        print(f"corpus: {remark}", file=sys.stderr)
