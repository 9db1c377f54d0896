"""The front as a file of its own: what `explorer front --plot` writes."""

from collections.abc import Sequence
from pathlib import Path

import optuna

from explorer.atomic_files import refuse_unwritable, write_whole, writing
from explorer.front.rows import FrontRow
from objectives.errors import StudyError
from objectives.operating_point import Tracking

DRAWN = (".png", ".svg", ".pdf")  # by matplotlib
INTERACTIVE = ".html"  # by plotly: to zoom and hover, offline as well
KNOWN = (*DRAWN, INTERACTIVE)


def check_plot(path: Path) -> None:
    """Raise StudyError if the suffix of a plot is unknown, or if its file cannot be written."""
    if path.suffix.lower() not in KNOWN:
        raise StudyError(f"--plot {path}: its suffix says how to draw: use one of {', '.join(KNOWN)}")
    with writing(path, StudyError, "FILE"):
        refuse_unwritable(path)


def write_plot(study: optuna.Study, rows: Sequence[FrontRow], path: Path, tracking: Tracking | None = None) -> None:
    """Draw the front of a study into a file, in the format of its suffix; a partial file is never visible.

    rows: as from explorer.front.pareto.whole_front. tracking: as it was asked for. Raises StudyError if the suffix is
    unknown, if nothing of the study was measured yet, or if the file cannot be written.
    """
    check_plot(path)
    if not any(row.measurement for row in rows):
        raise StudyError(f"the study {study.study_name!r} has nothing to plot yet: no operating point was measured")
    made = _page(rows) if path.suffix.lower() == INTERACTIVE else _picture(study, rows, path.suffix.lower(), tracking)
    with writing(path, StudyError, "FILE"):
        write_whole(path, made)


def _picture(study: optuna.Study, rows: Sequence[FrontRow], suffix: str, tracking: Tracking | None) -> bytes:
    # imported late, here and below, so that plotting with the one does not load the other
    from explorer.figures.data import joint_front, other_trials
    from explorer.figures.front import draw_front
    from explorer.figures.style import as_bytes

    return as_bytes(draw_front(joint_front(rows, other_trials(study, rows, tracking))), suffix.removeprefix("."))


def _page(rows: Sequence[FrontRow]) -> bytes:
    from explorer.figures.front_plotly import front_figure

    page: str = front_figure(rows).to_html(include_plotlyjs=True)
    return page.encode()
