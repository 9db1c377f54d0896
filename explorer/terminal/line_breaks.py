"""Sentences in lines of a given width. A figure stays whole, and so does a figure with its unit."""

import re

from rich.cells import cell_len, chop_cells

UNITS = "%|×|(?:points|MiB|dB|Hz|ms|s|h|M)\\b"
WORD = re.compile(f"(?:[^ ]|(?<=[0-9]) (?={UNITS}))+")


def longest_word(told: str) -> int:
    """Width of the longest word of a sentence; a figure and its unit are one."""
    return max(map(cell_len, WORD.findall(told)), default=0)


def broken(told: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken between words. A longer word stays whole, for the terminal to break."""
    lines, place = [""], 0
    for found in WORD.finditer(told):
        if lines[-1].strip() and cell_len(lines[-1]) + cell_len(told[place : found.end()]) > width:
            lines.append(found[0])
        else:
            lines[-1] += told[place : found.end()]
        place = found.end()
    return lines


def folded(told: str, width: int) -> list[str]:
    """The same, but a longer word goes on in the next line, so that no line is wider."""
    return [piece for line in broken(told, width) for piece in chop_cells(line, width) or [""]]
