"""What each recording contributed to a trial's DER: as a plot."""

import io
import threading
from collections.abc import Sequence

from explorer.figures.style import BLUE, ORANGE, SKY
from explorer.front.recordings import RecordingErrors

PARTS = {"missed_detection": (BLUE, ""), "false_alarm": (ORANGE, "//"), "confusion": (SKY, "..")}  # colour, hatch
ROW, FRAME, WIDTH = 0.28, 1.6, 9.0  # inches: of a bar, of what is around them, of the figure
TALLEST = 100  # bars that are drawn; the CSV has all
_drawing = threading.Lock()  # matplotlib keeps fonts for the whole process


def as_png(recordings: Sequence[RecordingErrors], title: str) -> bytes:
    """Bars of DER by recording, highest first, missed speech, false alarm and confusion apart; at most 100 bars."""
    from matplotlib.figure import Figure  # no pyplot: it would keep every figure

    scored = [one for one in recordings if one.der is not None]
    drawn = scored[:TALLEST]
    left_out = len(recordings) - len(drawn)
    with _drawing:
        figure = Figure(figsize=(WIDTH, FRAME + ROW * max(len(drawn), 3)), layout="constrained")
        axes = figure.add_subplot()
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
        axes.set_xlim(left=0)
        axes.set_xlabel("DER (% of the recording's scored speech)")
        axes.set_title(
            title if not left_out else f"{title}\n{left_out} more in the CSV", fontsize=10, loc="left", parse_math=False
        )
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower right", ncols=len(PARTS), fontsize=8, frameon=False)
        sheet = io.BytesIO()
        figure.savefig(sheet, format="png", dpi=110)
    return sheet.getvalue()
