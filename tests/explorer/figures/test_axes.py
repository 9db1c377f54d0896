"""What the axes of the figures are: what lies along them, and on which scale."""

from matplotlib.axes import Axes

from explorer.figures.curves import draw_sweep
from explorer.figures.data import joint_front, sweep_curve
from explorer.figures.front import draw_front
from tests.explorer.figures.test_data import row


def scales(axes: Axes) -> tuple[str, str, str, str]:
    return axes.get_xlabel(), axes.get_xscale(), axes.get_ylabel(), axes.get_yscale()


def places(axes: Axes) -> set[tuple[float, float]]:
    """Of the markers."""
    return {(x, y) for drawn in axes.collections for x, y in drawn.get_offsets().tolist()}  # type: ignore[union-attr]


def test_a_front_is_drawn_over_size_and_latency_on_logarithmic_scales() -> None:
    rows = [row(0, "baseline", der=20.0, size=4.0), row(1, "search", der=30.0, size=1.0, chunk_length=0.5)]
    panels = [axes for axes in draw_front(joint_front(rows)).axes if axes.get_ylabel()]
    assert [scales(axes) for axes in panels] == [
        ("size, MiB (log)", "log", "DER, % (log)", "log"),
        ("latency, s (log)", "log", "DER, % (log)", "log"),
    ]
    assert [places(axes) for axes in panels] == [{(4.0, 20.0), (1.0, 30.0)}, {(1.0, 20.0), (0.5, 30.0)}]


def test_a_sweep_is_drawn_over_what_it_sweeps_and_the_rtf_with_its_spread() -> None:
    rows = [
        row(0, "paper:figure2:C=1", der=39.5, rtf=0.2, rtf_low=0.1, rtf_high=0.5),
        row(1, "paper:figure2:C=0.1", der=49.0, chunk_length=0.1, rtf=0.8, rtf_low=0.7, rtf_high=0.85),
    ]
    curve = sweep_curve(rows, "figure2")
    assert curve is not None
    above, below = draw_sweep(curve).axes
    assert scales(above)[1:] == ("log", "DER, %", "linear")
    assert scales(below) == ("chunk length C, s (log)", "log", "RTF (log)", "log")
    assert [list(map(float, ends)) for ends in above.lines[0].get_data()] == [[0.1, 1.0], [49.0, 39.5]]
    assert [list(map(float, ends)) for ends in below.lines[0].get_data()] == [[0.1, 1.0], [0.8, 0.2]]
    (bars,) = below.containers
    spreads = bars[2][0].get_segments()  # type: ignore[index]
    assert [[round(float(y), 9) for _, y in each] for each in spreads] == [[0.7, 0.85], [0.1, 0.5]]
