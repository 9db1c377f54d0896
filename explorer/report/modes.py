"""Chunk-wise and online over C, in the report: a figure, a table and a CSV file."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from explorer.figures import style
from explorer.figures.front import plain_log
from explorer.figures.style import new_figure, styled
from explorer.front.comparisons import difference_in_words
from explorer.front.mode_pairs import ModePair, mode_curves
from explorer.report.exhibit import Absent, Exhibit, Grid, trials_in_words
from explorer.statistics import bootstrap

NAME = "modes"
TITLE = "Chunk-wise and online over C"
COLOURS = (style.BLUE, style.VERMILION, style.GREEN)


def modes_exhibit(pairs: Sequence[ModePair]) -> Exhibit | Absent:
    """Show the two modes side by side; if the study has no pair, say what would measure one."""
    if not pairs:
        return Absent(
            NAME, TITLE, "no operating point of this study was measured in both modes.", "explorer run online"
        )
    curves = mode_curves(pairs)
    trials = [number for pair in pairs for number in (pair.comparison.versus, pair.comparison.trial)]
    return Exhibit(
        name=NAME,
        title=TITLE,
        caption=(
            "Chunk-wise, everybody is clustered when the recording ends, so that who said what is known only then; "
            "online, names are final after the latency. Windows, features and models are the same. Difference: online "
            f"less chunk-wise, points, with the {100 * bootstrap.LEVEL:.0f} % interval of a paired bootstrap over "
            "recordings; tied: it holds zero. " + f"{trials_in_words(trials)}.".capitalize()
        ),
        figure=draw_modes(curves) if curves else None,
        alternative="; ".join(_in_words(curve) for curve in curves),
        grid=Grid(
            (
                "C s", "R s", "model", "trials", "chunk-wise DER %", "online DER %", "difference", "confusion, both",
                "online latency s", "RTF, both",
            ),
            tuple(_row(pair) for pair in pairs),
            left=frozenset({2, 3}),
        ),
        sheets={NAME: _sheet(pairs)},
    )  # fmt: skip


def draw_modes(curves: Sequence[Sequence[ModePair]]) -> Figure:
    """Draw DER over C: one colour per model and R, chunk-wise as a line with dots, online dashed with diamonds."""
    with styled():
        figure = new_figure(3.8)
        axes = figure.subplots()
        for colour, curve in zip(COLOURS, curves, strict=False):
            lengths = [pair.point.chunk_length for pair in curve]
            for ders, look, mode in (
                ([pair.chunkwise.figures.der for pair in curve], "o-", "chunk-wise"),
                ([pair.online.figures.der for pair in curve], "D--", "online"),
            ):
                axes.plot(
                    lengths, ders, look, color=colour, markersize=5, linewidth=1.6, label=f"{mode}: {_name(curve)}"
                )
        axes.set(xscale="log", xlabel="chunk length C, s (log)", ylabel="DER, %")
        axes.margins(y=0.12)
        plain_log(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
        return figure


def _row(pair: ModePair) -> tuple[str, ...]:
    ours, theirs = pair.online.figures, pair.chunkwise.figures
    return (
        f"{pair.point.chunk_length:.3g}",
        f"{pair.point.right_context:.3g}",
        ", ".join([pair.point.model, *(f"{name} {value:g}" for name, value in pair.thresholds.items())]),
        f"{pair.comparison.versus}, {pair.comparison.trial}",
        f"{theirs.der:.2f}",
        f"{ours.der:.2f}",
        difference_in_words(pair.comparison),
        f"{theirs.confusion:.1f}, {ours.confusion:.1f}",
        f"{pair.online.latency:.3g}",
        f"{theirs.rtf:.4f}, {ours.rtf:.4f}",
    )


def _sheet(pairs: Sequence[ModePair]) -> pd.DataFrame:
    lines = []
    for pair in pairs:
        sides = {"chunkwise": pair.chunkwise, "online": pair.online}
        lines.append(
            {
                "chunk_length": pair.point.chunk_length,
                "right_context": pair.point.right_context,
                "pruning": pair.chunkwise.pruning,
                "precision": pair.point.precision,
                **{f"{mode}_trial": row.trial for mode, row in sides.items()},
                "thresholds": pair.thresholds,
                "latency": pair.online.latency,
                **{
                    f"{mode}_{name}": getattr(row.figures, name)
                    for name in ("der", "confusion", "rtf")
                    for mode, row in sides.items()
                },
                **{name: getattr(pair.comparison, name) for name in ("der_difference", "der_low", "der_high", "tied")},
            }
        )
    return pd.DataFrame(lines)


def _name(curve: Sequence[ModePair]) -> str:
    point = curve[0].point
    model = "baseline model" if point.model == "fp32" else point.model
    return f"{model}, R = {point.right_context:.3g} s"


def _in_words(curve: Sequence[ModePair]) -> str:
    ends = " to ".join(
        f"{pair.chunkwise.figures.der:.1f} % chunk-wise and {pair.online.figures.der:.1f} % online at C = "
        f"{pair.point.chunk_length:.3g} s"
        for pair in (curve[0], curve[-1])
    )
    return f"DER of the {_name(curve)}, over {len(curve)} chunk lengths: {ends}"
