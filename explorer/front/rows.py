"""A row of the front: one operating point, its measurement, and its standing among the others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from objectives.operating_point import OperatingPoint
from studies.paper_results import published

Standing = Literal["front", "dominated", "infeasible", "waiting", "running", "failed"]
Kind = Literal[
    "front neighbours",
    "lowest DER",
    "dominated",
    "over a budget",
    "QAT against PTQ",
    "online against chunk-wise",
    "lower precision against FP32",
    "pruned against unpruned",
]

NOT_CHOSEN = "not chosen"  # instead of a pruning, while Table 2's variant is not chosen yet
# the flat row: column → its pandas type
COLUMNS = {
    "trial": "Int64", "origin": "str", "standing": "str", "dominated_by": "object", "exceeded": "object",
    "chunk_length": "float64", "right_context": "float64", "latency": "float64", "pruning": "str", "precision": "str",
    "mode": "str", "online": "object", "kept": "object", "params": "Int64", "der": "float64", "false_alarm": "float64",
    "missed_detection": "float64", "confusion": "float64", "size": "float64", "rtf": "float64", "rtf_low": "float64",
    "rtf_high": "float64", "rtf_ratio": "float64", "update_latency": "object", "stage_shares": "object",
    "peak_memory_mib": "float64", "execution": "str", "kernel": "str", "reused_from": "Int64", "error": "str",
    "model_key": "str", "model_sha256": "str", "data": "object", "versions": "object", "paper_params": "float64",
    "paper_size": "float64", "paper_rtf": "float64", "paper_der": "float64", "versus": "Int64",
    "der_difference": "float64", "der_low": "float64", "der_high": "float64", "tied": "boolean",
    "tied_with_best": "boolean",
}  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """What a complete trial measured, in the units of explorer.front.frames.front.

    Trials of an earlier version may lack what may be None; rtf_ratio is None if the RTF is emulated.
    """

    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    size: float
    rtf: float
    rtf_low: float
    rtf_high: float
    rtf_ratio: float | None
    params: int
    kept: Mapping[str, int]
    execution: str
    update_latency: Mapping[str, float] | None = None
    stage_shares: Mapping[str, float] | None = None
    peak_memory_mib: float | None = None
    kernel: str | None = None
    reused_from: int | None = None
    model_key: str | None = None
    model_sha256: str | None = None
    data: Mapping[str, str] | None = None
    versions: Mapping[str, str] | None = None

    @property
    def emulated(self) -> bool:
        """Whether the RTF says nothing about a gain."""
        return self.execution == "emulated"


@dataclass(frozen=True)
class Comparison:
    """Two operating points of a study, each by the number of its trial and in words.

    der, versus_der: percent. der_difference: their difference in points, above 0 if `trial` has more errors.
    der_low, der_high: the 95 % interval of the difference over so many `recordings`; None if there is only one
    recording, which has no spread. tied: whether the interval contains zero; None without an interval.
    """

    kind: Kind
    trial: int
    versus: int
    point: str
    versus_point: str
    der: float
    versus_der: float
    der_difference: float
    der_low: float | None
    der_high: float | None
    recordings: int
    tied: bool | None


@dataclass(frozen=True)
class FrontRow:
    """One operating point, its measurement and its standing.

    trial: number in the study; None if a fixed point is not queued yet. standing: `front` is feasible and not
    dominated; `dominated` is feasible, and `dominated_by` are the trials of the front that dominate it; `infeasible`
    exceeds the limits named in `exceeded`. measurement: None if the trial is not complete; then `error` says why it
    failed. comparison: on the front with the next better point, for a dominated point with the best of those that
    dominate it, for one over a budget with the baseline. tied_with_best: whether a point of the front cannot be
    distinguished from the lowest DER; None for that one. variant_chosen: False for a row of Table 2 whose model the
    study has yet to choose: its pruning is a placeholder.
    """

    trial: int | None
    origin: str
    point: OperatingPoint
    standing: Standing
    dominated_by: tuple[int, ...] = ()
    exceeded: tuple[str, ...] = ()
    measurement: Figures | None = None
    error: str | None = None
    comparison: Comparison | None = None
    tied_with_best: bool | None = None
    variant_chosen: bool = field(default=True, kw_only=True)

    @property
    def figures(self) -> Figures:
        """The measurement of a row that has one."""
        assert self.measurement is not None, "it was measured"
        return self.measurement

    @property
    def number(self) -> int:
        """The number of a row that has a trial."""
        assert self.trial is not None, "it has a trial"
        return self.trial

    @property
    def latency(self) -> float | None:
        """Seconds; None in the offline mode."""
        return self.point.latency if self.point.streamed else None

    @property
    def pruning(self) -> str:
        """`Hidden-40`, `none`, or `not chosen`."""
        return str(self.point.pruning) if self.variant_chosen else NOT_CHOSEN

    @property
    def emulated(self) -> bool:
        """Whether it was measured, with an RTF that says nothing about a gain."""
        return self.measurement is not None and self.measurement.emulated


def flat(row: FrontRow) -> dict[str, Any]:
    """Return a row for CSV, JSON and data frames: a value for each of COLUMNS, None if it has none.

    explorer.front.frames.front documents them.
    """
    point, paper = row.point, published(row.origin)
    values = {
        "kept": {},
        **(vars(row.comparison) if row.comparison else {}),
        **(vars(row.measurement) if row.measurement else {}),
        **vars(row),
        **(vars(point) if point.streamed else {"precision": point.precision, "mode": point.mode}),
        "latency": row.latency,
        "pruning": row.pruning,
        "online": asdict(point.online) if point.mode == "online" else None,
        **({f"paper_{name}": value for name, value in vars(paper).items()} if paper else {}),
    }
    return {name: values.get(name) for name in COLUMNS}
