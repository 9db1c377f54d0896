"""How trials degrade with overlap and noise: as data, as a figure, and as a part of the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna import Study

from explorer.diagnostics.stress_results import Cell, Stressed, stressed_trials
from explorer.figures import style
from explorer.figures.style import new_figure, styled
from explorer.front.frames import frame_of
from explorer.report.exhibit import Absent, Exhibit, Grid, trials_in_words
from explorer.statistics.differences import ends, few_recordings, points, signed

T = TypeVar("T")

NAME, TITLE = "stress", "DER under overlap and noise"
MOST_PANELS = 4  # per row
LOOKS = (
    (style.BLACK, "o", "-"),
    (style.VERMILION, "D", "--"),
    (style.BLUE, "s", "-."),
    (style.GREEN, "^", ":"),
    (style.ORANGE, "v", "-"),
    (style.PURPLE, "P", "--"),
)


@dataclass(frozen=True)
class StressPoint:
    """A trial in one cell. overlap: the share of the speech that was asked for, 0 … 1; overlap_share: the share that
    came out. noise: dB of speech over noise, None for none. added: points of DER above the trial's first cell, None for
    that cell, with its interval. tied: whether the interval contains zero. The interval and `tied` are None with a
    single recording."""

    trial: int
    point: str
    overlap: float
    overlap_share: float
    noise: float | None
    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    added: float | None = None
    added_low: float | None = None
    added_high: float | None = None
    tied: bool | None = None


@dataclass(frozen=True)
class StressFigure:
    """Trials under the same conditions. left_out: others, under other conditions or without room here."""

    trials: tuple[Stressed, ...]
    points: tuple[StressPoint, ...]
    left_out: tuple[Stressed, ...]

    @property
    def overlaps(self) -> tuple[float, ...]:
        """Shares of overlapped speech that were asked for."""
        return tuple(dict.fromkeys(point.overlap for point in self.points))

    @property
    def noises(self) -> tuple[float | None, ...]:
        """Levels in dB, None for no noise."""
        return tuple(dict.fromkeys(point.noise for point in self.points))


def stress_figure(stressed: Sequence[Stressed]) -> StressFigure | None:
    """Return the largest group of trials that share all conditions, the latest if several are as large. None if nothing
    was stressed."""
    groups: dict[str, list[Stressed]] = {}
    for one in stressed:
        groups.setdefault(json.dumps(one.conditions, sort_keys=True), []).append(one)
    if not groups:
        return None
    chosen = max(groups.values(), key=lambda group: (len(group), max(one.made for one in group)))
    chosen = chosen[: len(LOOKS)]
    return StressFigure(
        tuple(chosen),
        tuple(_point(one, cell) for one in chosen for cell in one.cells),
        tuple(one for one in stressed if one not in chosen),
    )


def stress_exhibit(study: Study) -> Exhibit | Absent:
    """Show the figure with its numbers. Raises StudyError if what the study recorded was damaged."""
    found = stress_figure(stressed_trials(study))
    if found is None:
        why = "no trial of this study was scored under overlap and noise."
        return Absent(NAME, TITLE, why, f"explorer stress {study.study_name} TRIAL")
    conditions = found.trials[0].conditions
    speech = conditions["speech"]
    recordings = found.trials[0].recordings
    said = [
        f"Simulated, not from calls: {recordings} conversations in each cell, the same words in all of them, made up "
        f"of {speech['people']} people of {speech['name']} ({speech['found']}), "
        f"{'over a telephone band' if conditions['band'] == 'telephone' else 'wide band'}, "
        f"{conditions['noise_kind']} noise. "
        f"{trials_in_words(one.trial for one in found.trials).capitalize()}.",
        "In the table: DER, and in brackets by how much it is above the first cell of the trial, with a star where the "
        "95 % interval of a paired bootstrap over recordings does not hold zero.",
    ]
    if few := few_recordings(recordings):
        said.append(f"{few[0].upper()}{few[1:]}.")
    if conditions["rounds"] > 1:
        said.append(f"There was little speech: somebody's is used up to {conditions['rounds']} times.")
    if found.left_out:
        said.append(f"Kept as well, and not drawn: {_left_out_in_words(found)}.")
    ends = [(one, one.cells[0], max(one.cells, key=lambda cell: cell.der)) for one in found.trials]
    return Exhibit(
        name=NAME,
        title=TITLE,
        caption=" ".join(said),
        figure=draw_stress(found),
        alternative="; ".join(
            f"trial {one.trial}: {first.der:.1f} % with {_cell_in_words(first)}, {worst.der:.1f} % at most, with "
            f"{_cell_in_words(worst)}"
            for one, first, worst in ends
        ),
        grid=_grid(found),
        sheets={NAME: frame_of(StressPoint, found.points)},
    )


def draw_stress(found: StressFigure) -> Figure:
    """Draw DER over overlap above, one panel per level of noise, and DER over noise below, one panel per level of
    overlap. One line per trial."""
    overlaps, noises = _some(found.overlaps), _some(found.noises)
    rows = 2 if len(found.noises) > 1 else 1
    highest = max(point.der for point in found.points)
    with styled():
        figure = new_figure(0.9 + 2.3 * rows)
        parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
        above = parts[0].subplots(1, len(noises), sharey=True, squeeze=False)[0]
        for panel, noise in zip(above, noises, strict=True):
            _lines(panel, found, [point for point in found.points if point.noise == noise], "overlap")
            panel.set(xlabel="overlapped speech, %", ylim=(0.0, 1.08 * highest))
            panel.set_title(_noise_in_words(noise), fontsize=9)
        above[0].set_ylabel("DER, %")
        if rows == 2:
            below = parts[1].subplots(1, len(overlaps), sharey=True, squeeze=False)[0]
            for panel, overlap in zip(below, overlaps, strict=True):
                _lines(panel, found, [point for point in found.points if point.overlap == overlap], "noise")
                panel.set(xlabel="speech over noise, dB", ylim=(0.0, 1.08 * highest))
                panel.set_title(_overlap_in_words(found, overlap), fontsize=9)
                panel.set_xticks(range(len(found.noises)), ["none" if n is None else f"{n:g}" for n in found.noises])
            below[0].set_ylabel("DER, %")
        parts[0].legend(*above[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return figure


def _lines(panel: Axes, found: StressFigure, points: Sequence[StressPoint], over: str) -> None:
    for one, (colour, marker, line) in zip(found.trials, LOOKS, strict=False):
        own = [point for point in points if point.trial == one.trial]
        places = [
            100.0 * point.overlap_share if over == "overlap" else float(found.noises.index(point.noise))
            for point in own
        ]
        panel.plot(
            places, [point.der for point in own], color=colour, marker=marker, linestyle=line, linewidth=1.4,
            markersize=5, label=f"trial {one.trial}: {one.point}",
        )  # fmt: skip


def _point(one: Stressed, cell: Cell) -> StressPoint:
    names = ("overlap", "overlap_share", "noise", "der", "false_alarm", "missed_detection", "confusion")
    point = StressPoint(one.trial, one.point, *(getattr(cell, name) for name in names))
    if cell is one.cells[0]:
        return point
    added = points(cell.scored, one.cells[0].scored)
    low, high = ends(added.interval)
    return replace(point, added=cell.der - one.cells[0].der, added_low=low, added_high=high, tied=added.tied)


def _grid(found: StressFigure) -> Grid:
    rows = []
    for one in found.trials:
        for noise in found.noises:
            own = [point for point in found.points if point.trial == one.trial and point.noise == noise]
            rows.append((str(one.trial), one.point, _noise_in_words(noise), *map(_difference, own)))
    heads = ("trial", "operating point", "noise", *(_overlap_in_words(found, overlap) for overlap in found.overlaps))
    return Grid(heads, tuple(rows), left=frozenset({1, 2}))


def _difference(point: StressPoint) -> str:
    if point.added is None:
        return f"{point.der:.1f}"
    star = " *" if point.tied is False else ""
    return f"{point.der:.1f} ({signed(point.added, 1)}{star})"


def _overlap_in_words(found: StressFigure, overlap: float) -> str:
    """Describe the overlap that came out, which may miss the target in recordings of few turns."""
    share = next(point.overlap_share for point in found.points if point.overlap == overlap)
    return f"overlap {100 * share:.0f} %"


def _noise_in_words(noise: float | None) -> str:
    return "no noise" if noise is None else f"noise at {noise:g} dB"


def _cell_in_words(cell: Cell) -> str:
    return f"{100 * cell.overlap_share:.0f} % overlap and {_noise_in_words(cell.noise)}"


def _left_out_in_words(found: StressFigure) -> str:
    """Describe what is left out: `trials 3, 4 (seed 5); trial 9 (no room)`."""
    groups: dict[str, list[int]] = {}
    for one in found.left_out:
        groups.setdefault(_differing(one.conditions, found.trials[0].conditions), []).append(one.trial)
    return "; ".join(f"{trials_in_words(trials)} ({why})" for why, trials in groups.items())


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Describe how conditions differ from those drawn."""
    if theirs == ours:
        return "no room"
    describe = {
        "overlaps": lambda levels: f"overlap {', '.join(f'{100 * level:g}' for level in levels)} %",
        "noises": lambda levels: f"noise {', '.join('none' if n is None else f'{n:g}' for n in levels)} dB",
        "speakers": lambda ends: f"{ends[0]}–{ends[1]} speakers",
        "minutes": lambda minutes: f"{minutes:g} minutes",
        "length": lambda minutes: f"recordings of {minutes:g} minutes",
        "noise_kind": lambda kind: f"{kind} noise",
        "band": lambda band: f"{band} band",
        "seed": lambda seed: f"seed {seed}",
        "speech": lambda speech: f"speech of {speech['people']} people of {speech['name']}",
    }
    words = [say(theirs[name]) for name, say in describe.items() if name in theirs and theirs[name] != ours.get(name)]
    return ", ".join(words) or "other sound of the same settings"


def _some(levels: Sequence[T]) -> list[T]:
    """Return as many levels as there are panels for, the first and the last among them."""
    if len(levels) <= MOST_PANELS:
        return list(levels)
    return [levels[round(place * (len(levels) - 1) / (MOST_PANELS - 1))] for place in range(MOST_PANELS)]
