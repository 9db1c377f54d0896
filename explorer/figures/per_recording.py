"""DER by recording: what a precision mode changes (the paper's Figure 3), and what overlapped speech costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial

from explorer.front.comparisons import matched
from explorer.front.rows import Comparison, FrontRow
from explorer.statistics.rank_correlation import RankCorrelation, rank_correlation
from explorer.storage import trial_record as record
from objectives.operating_point import Precision
from studies.paper_results import TABLE2

if TYPE_CHECKING:  # imports pyannote
    from objectives.corpora.summary import SpeechSummary

BETWEEN = "the second less the first"  # of two series: the correlation of their difference of DER with overlap


@dataclass(frozen=True)
class RecordingDelta:
    """The effect of a precision mode on one recording. der, reference_der: percent. delta: their difference, in
    percentage points."""

    precision: str
    trial: int
    uri: str
    der: float
    reference_der: float
    delta: float


@dataclass(frozen=True)
class DeltaSummary:
    """ΔDER of one precision mode over `number` recordings, in percentage points.

    smallest … largest: quantiles over recordings, interpolated linearly; p90: 90th percentile. pooled: difference of
    the DERs over all recordings; pooled_low, pooled_high, tied: see comparisons.Comparison. published: the same
    difference in the paper's Table 2.
    """

    precision: Precision
    trial: int
    number: int
    smallest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    p90: float
    largest: float
    pooled: float
    pooled_low: float | None
    pooled_high: float | None
    tied: bool | None
    published: float
    emulated: bool


@dataclass(frozen=True)
class PrecisionDeltas:
    """Figure 3. pruning: of the model, `Linear-40`. reference: the trial of the same model in FP32.

    unscored: recordings without scored speech, which have no DER and are left out.
    """

    pruning: str
    reference: int
    deltas: tuple[RecordingDelta, ...]
    summaries: tuple[DeltaSummary, ...]
    unscored: tuple[str, ...]


@dataclass(frozen=True)
class OverlapPoint:
    """One recording at one operating point. overlap_share: of its annotated speech, 0 … 1. der: percent."""

    series: str
    trial: int
    uri: str
    overlap_share: float
    der: float


@dataclass(frozen=True)
class OverlapFigure:
    """rank_correlation: of overlap share and DER, by series, and for BETWEEN two series; left out if undefined.
    unscored: as in PrecisionDeltas."""

    points: tuple[OverlapPoint, ...]
    rank_correlation: Mapping[str, RankCorrelation]
    unscored: tuple[str, ...]


def precision_deltas(
    rows: Sequence[FrontRow], trials: Mapping[int, FrozenTrial], compared: Sequence[Comparison]
) -> PrecisionDeltas | None:
    """Compute Figure 3 from the measured rows of Table 2, each compared with FP32 of the same model, C and R.

    trials: of the rows, whole, by number. compared: as from explorer.front.pareto. None if the study lacks the rows, or
    their FP32.
    """
    measured = [row for row in rows if row.measurement]
    modes: Mapping[str, FrontRow] = {
        row.point.precision: row for row in measured if row.origin.startswith("paper:table2:")
    }
    quantized = [modes[mode.lower()] for mode in TABLE2 if mode != "FP32" and mode.lower() in modes]
    fp32 = replace(quantized[0].point, precision="fp32") if quantized else None
    reference = next((row for row in measured if row.point == fp32), None)
    if reference is None:
        return None
    to_fp32 = matched(measured, compared, "lower precision against FP32")
    base, unscored = _ders(trials[reference.number])
    deltas: list[RecordingDelta] = []
    summaries: list[DeltaSummary] = []
    for row in quantized:
        ders, _ = _ders(trials[row.number])
        own = [
            RecordingDelta(row.point.precision, row.number, uri, ders[uri], base[uri], ders[uri] - base[uri])
            for uri in base
        ]
        deltas += own
        summaries.append(_summary(row, reference, own, to_fp32.get(row.point)))
    return PrecisionDeltas(quantized[0].pruning, reference.number, tuple(deltas), tuple(summaries), unscored)


def overlap_figure(series: Mapping[str, FrozenTrial], speech: Mapping[str, "SpeechSummary"]) -> OverlapFigure:
    """Return DER against overlap share by recording, for trials named by series. speech: of the corpus, by URI."""
    points: list[OverlapPoint] = []
    found: dict[str, dict[str, float]] = {}
    unscored: dict[str, None] = {}
    for name, trial in series.items():
        found[name], without = _ders(trial)
        unscored |= dict.fromkeys(without)
        points += [
            OverlapPoint(name, trial.number, uri, speech[uri].overlap_share, der) for uri, der in found[name].items()
        ]
    if len(series) == 2:
        first, second = found.values()
        found[BETWEEN] = {uri: second[uri] - first[uri] for uri in first}
    shares = {name: [speech[uri].overlap_share for uri in ders] for name, ders in found.items()}
    correlations = {name: rank_correlation(shares[name], [*ders.values()]) for name, ders in found.items()}
    ranks = {name: rank for name, rank in correlations.items() if rank is not None}
    return OverlapFigure(tuple(points), ranks, tuple(unscored))


def _ders(trial: FrozenTrial) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the DER in percent by recording, and the recordings that have none."""
    recordings = trial.user_attrs[record.RECORDINGS]
    ders = {uri: float(errors["der"]) for uri, errors in recordings.items() if errors["der"] is not None}
    return ders, tuple(uri for uri in recordings if uri not in ders)


def _summary(
    row: FrontRow, reference: FrontRow, deltas: Sequence[RecordingDelta], change: Comparison | None
) -> DeltaSummary:
    values = np.array([delta.delta for delta in deltas])
    smallest, lower, median, upper, p90, largest = np.percentile(values, (0, 25, 50, 75, 90, 100)).tolist()
    return DeltaSummary(
        precision=row.point.precision,
        trial=row.number,
        number=len(values),
        smallest=smallest,
        lower_quartile=lower,
        median=median,
        upper_quartile=upper,
        p90=p90,
        largest=largest,
        pooled=row.figures.der - reference.figures.der,
        pooled_low=change.der_low if change else None,
        pooled_high=change.der_high if change else None,
        tied=change.tied if change else None,
        published=TABLE2[row.point.precision.upper()].der - TABLE2["FP32"].der,
        emulated=row.emulated,
    )
