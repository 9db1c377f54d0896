"""All cases of a format, in this process or, where what decodes is not Python, in another one that may die."""

from pathlib import Path

from tests.fuzz.cases import Format, Outcome, run_case
from tests.fuzz.stored_formats import STORED_FORMATS
from tests.fuzz.text_formats import TEXT_FORMATS

FORMATS: tuple[Format, ...] = (*TEXT_FORMATS, *STORED_FORMATS)


def run_format(format: Format, folder: Path, seed: int, first: int, count: int) -> list[Outcome]:
    """Cases `first` … of a seed. folder: an empty one."""
    prepared = format.prepare(folder)
    return [run_case(format, prepared, folder, seed, case) for case in range(first, first + count)]
