"""What each recording contributed to a trial's DER: as a plot."""

import threading
from collections.abc import Sequence

from explorer.figures.style import BLUE, ORANGE, SKY, as_bytes, new_figure, styled
from explorer.front.recordings import RecordingErrors

PARTS = {"missed_detection": (BLUE, ""), "false_alarm": (ORANGE, "//"), "confusion": (SKY, "..")}  # colour, hatch
ROW, FRAME = 0.28, 1.6  # inches: of a bar, of what is around them
TALLEST = 100  # bars that are drawn; the CSV has all
_drawing = threading.Lock()  # matplotlib keeps fonts for the whole process


def as_png(recordings: Sequence[RecordingErrors], title: str) -> bytes:
    """Bars of DER by recording, highest first, missed speech, false alarm and confusion apart; at most 100 bars."""
    scored = [one for one in recordings if one.der is not None]
    drawn = scored[:TALLEST]
    if left_out := len(recordings) - len(drawn):
        title += f"\n{left_out} more in the CSV"
    with _drawing, styled():
        figure = new_figure(FRAME + ROW * max(len(drawn), 3))
        axes = figure.subplots()
        ends = [0.0] * len(drawn)
        for part, (colour, hatch) in PARTS.items():
            widths = [getattr(one, part) for one in drawn]
            label = part.replace("_", " ")
            axes.barh(range(len(drawn)), widths, left=ends, color=colour, hatch=hatch, edgecolor="white", label=label)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        for place, (one, end) in enumerate(zip(drawn, ends, strict=True)):
            axes.annotate(f" {one.der:.1f} % of {one.total_seconds:.0f} s", (end, place), va="center", fontsize=8)
        axes.set_yticks(range(len(drawn)), [one.recording for one in drawn], fontsize=8, parse_math=False)
        axes.invert_yaxis()
        axes.margins(x=0.18, y=0.02)
        axes.set(xlim=(0, None), xlabel="DER (% of the recording's scored speech)")
        axes.set_title(title, parse_math=False)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower right", ncols=len(PARTS))
        return as_bytes(figure, "png")
