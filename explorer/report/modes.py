"""Chunk-wise and online over C, in the report: a figure, a table and a CSV file."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from explorer.figures import style
from explorer.figures.front import plain_log
from explorer.figures.style import new_figure, styled
from explorer.front.frames import frame_of
from explorer.front.mode_pairs import ModeCurve, ModePair, mode_curves
from explorer.report.exhibit import Absent, Exhibit, Grid, trials_in_words
from explorer.statistics import bootstrap
from explorer.statistics.differences import in_words

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
    trials = [number for pair in pairs for number in (pair.chunkwise_trial, pair.online_trial)]
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
        sheets={NAME: frame_of(ModePair, pairs)},
    )  # fmt: skip


def draw_modes(curves: Sequence[ModeCurve]) -> Figure:
    """Draw DER over C: one colour per model and R, chunk-wise as a line with dots, online dashed with diamonds."""
    with styled():
        figure = new_figure(3.8)
        axes = figure.subplots()
        for colour, curve in zip(COLOURS, curves, strict=False):
            lengths = [pair.chunk_length for pair in curve.pairs]
            for ders, look, mode in (
                ([pair.chunkwise_der for pair in curve.pairs], "o-", "chunk-wise"),
                ([pair.online_der for pair in curve.pairs], "D--", "online"),
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
    model = f"{pair.precision}" if pair.pruning == "none" else f"{pair.pruning} {pair.precision}"
    return (
        f"{pair.chunk_length:.3g}",
        f"{pair.right_context:.3g}",
        model + "".join(f", {name} {value:g}" for name, value in pair.thresholds.items()),
        f"{pair.chunkwise_trial}, {pair.online_trial}",
        f"{pair.chunkwise_der:.2f}",
        f"{pair.online_der:.2f}",
        in_words(pair.der_difference, pair.der_low, pair.der_high, pair.tied),
        f"{pair.chunkwise_confusion:.1f}, {pair.online_confusion:.1f}",
        f"{pair.latency:.3g}",
        f"{pair.chunkwise_rtf:.4f}, {pair.online_rtf:.4f}",
    )


def _name(curve: ModeCurve) -> str:
    model = "baseline model" if (curve.pruning, curve.precision) == ("none", "fp32") else curve.precision
    pruned = "" if curve.pruning == "none" else f"{curve.pruning} "
    return f"{pruned}{model}, R = {curve.right_context:.3g} s"


def _in_words(curve: ModeCurve) -> str:
    ends = " to ".join(
        f"{pair.chunkwise_der:.1f} % chunk-wise and {pair.online_der:.1f} % online at C = {pair.chunk_length:.3g} s"
        for pair in (curve.pairs[0], curve.pairs[-1])
    )
    return f"DER of the {_name(curve)}, over {len(curve.pairs)} chunk lengths: {ends}"
