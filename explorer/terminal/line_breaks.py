"""Break sentences into lines of a given width. A figure is kept together with its unit."""

import re

from rich.cells import cell_len, chop_cells

UNITS = "%|×|(?:points|MiB|dB|Hz|ms|s|h|M)\\b"
WORD = re.compile(f"(?:[^ ]|(?<=[0-9]) (?={UNITS}))+")


def longest_word(text: str) -> int:
    """Return the width of the longest word of a sentence. A figure and its unit are one word."""
    return max(map(cell_len, WORD.findall(text)), default=0)


def broken(text: str, width: int) -> list[str]:
    """Break a sentence between words into lines of at most `width` columns. A longer word is left to the terminal."""
    lines, place = [""], 0
    for word in WORD.finditer(text):
        if lines[-1].strip() and cell_len(lines[-1]) + cell_len(text[place : word.end()]) > width:
            lines.append(word[0])
        else:
            lines[-1] += text[place : word.end()]
        place = word.end()
    return lines


def folded(text: str, width: int) -> list[str]:
    """Break a sentence like `broken`, but also break words that are longer than a line, so that no line is wider."""
    return [piece for line in broken(text, width) for piece in chop_cells(line, width) or [""]]
