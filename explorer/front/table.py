"""The front as text: the cells of a row, for the tables of the screen, the report and the dashboard."""

from collections.abc import Sequence

from explorer.front.comparisons import to_trial
from explorer.front.rows import Figures, FrontRow
from studies.paper_results import TABLE2_VARIANT, PaperTable, published

UNKNOWN = "–"
# column → whether it holds figures, which are aligned right
COLUMNS = {
    "trial": True, "origin": False, "C s": True, "R s": True, "latency s": True, "pruning": False, "precision": False,
    "params M": True, "DER %": True, "Δ DER to": False, "FA / miss / conf %": True, "MiB": True, "RTF": True,
    "× base": True, "tracking": False, "standing": False,
}  # fmt: skip


def columns_of(rows: Sequence[FrontRow]) -> list[str]:
    """Return the columns of a table of these rows: `tracking` only if some are online."""
    several = any(row.point.mode == "online" for row in rows)
    return [name for name in COLUMNS if several or name != "tracking"]


def cells(row: FrontRow, most_named: int | None = None) -> dict[str, str]:
    """Return a row's cells by column. most_named: of the trials that dominate it; None for all of them."""
    point, measured = row.point, row.measurement
    seconds = (point.chunk_length, point.right_context, point.latency) if point.streamed else (None, None, None)
    found = dict.fromkeys(COLUMNS, UNKNOWN) | {
        "trial": UNKNOWN if row.trial is None else str(row.trial),
        "origin": row.origin,
        **{name: number(value) for name, value in zip(("C s", "R s", "latency s"), seconds, strict=True)},
        "pruning": row.pruning,
        "precision": point.precision,
        "tracking": point.mode,
        "standing": standing(row, most_named),
    }
    if measured is not None:
        found |= {
            "params M": number(measured.params / 1e6, 2),
            "DER %": f"{'≈ ' if row.tied_with_best else ''}{measured.der:.2f}",
            "Δ DER to": to_trial(row) or UNKNOWN,
            "FA / miss / conf %": parts(measured.false_alarm, measured.missed_detection, measured.confusion),
            "MiB": number(measured.size, 2),
            "RTF": spread(measured.rtf, measured.rtf_low, measured.rtf_high),
            "× base": ratio(measured),
        }
    return found


def beside_paper(row: FrontRow) -> dict[str, tuple[str, str]]:
    """Return (ours, the paper's) by column, of a row of one of the paper's tables."""
    ours, paper = row.measurement, published(row.origin)
    assert paper is not None, "it is a row of one of the tables"
    measured = (ours.params / 1e6, ours.size, ours.der, ours.rtf) if ours else (None,) * 4
    columns = (("params M", 2, paper.params), ("MiB", 2, paper.size), ("DER %", 2, paper.der), ("RTF", 4, paper.rtf))
    return {
        name: (number(value, digits), number(theirs, digits))
        for value, (name, digits, theirs) in zip(measured, columns, strict=True)
    }


def paper_title(table: PaperTable, rows: Sequence[FrontRow]) -> str:
    """Return the title of one of the paper's tables, with the model that its rows are of here."""
    if table == "table1":
        return "Table 1: pruning in FP32"
    pruned = ", ".join(dict.fromkeys(row.pruning for row in rows))
    return f"Table 2: precision of {pruned} (paper: {TABLE2_VARIANT})"


def kept_in_words(row: FrontRow) -> str:
    """Describe the units that are left: `hidden 84, linear 128`; empty if it is not measured."""
    return ", ".join(f"{part} {units}" for part, units in (row.measurement.kept if row.measurement else {}).items())


def standing(row: FrontRow, most_named: int | None = None) -> str:
    """Describe how a row stands: `dominated by 3, 5`."""
    match row.standing:
        case "dominated":
            more = ", …" if most_named is not None and len(row.dominated_by) > most_named else ""
            return f"dominated by {', '.join(map(str, row.dominated_by[:most_named]))}{more}"
        case "infeasible":
            return f"infeasible: over {', '.join(row.exceeded)}"
        case "failed":
            return f"failed: {row.error}"
        case _:
            return row.standing


def number(value: float | None, digits: int | None = None) -> str:
    """Format a number with so many decimals, or with three significant digits; a dash if it is unknown."""
    return UNKNOWN if value is None else f"{value:.3g}" if digits is None else f"{value:.{digits}f}"


def parts(false_alarm: float, missed_detection: float, confusion: float) -> str:
    """Format what a DER is made of: `1.6 / 27.2 / 10.8`."""
    return f"{false_alarm:.1f} / {missed_detection:.1f} / {confusion:.1f}"


def spread(rtf: float, low: float, high: float) -> str:
    """Format an RTF with its spread: `0.1000 [0.0980–0.1100]`."""
    return f"{rtf:.4f} [{low:.4f}–{high:.4f}]"


def ratio(of: Figures) -> str:
    """Format the RTF over the baseline's: `0.52`, or `emulated`."""
    return "emulated" if of.emulated else number(of.rtf_ratio, 2)
