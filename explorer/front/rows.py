"""A row of the front: one operating point, its measurement, and its standing among the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from objectives.operating_point import Mode

Standing = Literal["front", "dominated", "infeasible", "waiting", "running", "failed"]


@dataclass(frozen=True)
class FrontRow:
    """One operating point and its standing. Fields that were not measured are None.

    trial: number in the study; None if a fixed point is not queued yet. standing: `front` is feasible and not
    dominated; `dominated` is feasible, and `dominated_by` are the trials of the front that dominate it; `infeasible`
    exceeds the limits named in `exceeded`. mode: `chunk-wise`, `online` or `offline`. online: how speakers are tracked
    in that mode (objectives.operating_point.OnlineTracking); a None in it stands for the value tuned for the embedding.
    chunk_length, right_context, latency: seconds, None in an offline study.
    pruning: `Hidden-40`, `none`. kept: units that are left, {"hidden": 84, "linear": 128}. params: of the segmentation
    model. der, false_alarm, missed_detection, confusion: percent of scored speech. size: MiB. rtf: median; rtf_low and
    rtf_high: its spread; rtf_ratio: over the FP32 baseline timed in turns with it. update_latency: seconds of compute
    of an update, {"median", "p95", "p99"} over so many "updates"; None offline. stage_shares: of the RTF,
    {"segmentation", "embedding", "clustering", "other"}. peak_memory_mib: of the timing process, see
    objectives.evaluation.timing_process. execution: if `emulated`, the RTF says nothing about a gain. kernel: what ran
    the windows for the DER. model_key, model_sha256: of the finished model and its file. data: what it was measured on
    and with, by content: corpus (name and fingerprint), split, weights, clustering. versions: of packages, None if they
    were not recorded. paper_*: what the paper published for a row of its Tables 1 and 2 (params in millions), on other
    recordings and another machine: see studies.paper_results. versus: the trial that the DER is compared with: on the
    front the next better one, for a dominated point the best of those that dominate it, for one over a budget the
    baseline. der_difference, der_low, der_high: by how many points the DER exceeds that trial's, with the 95 %
    interval; tied: whether the interval contains zero; None with a single recording: see comparisons.Comparison.
    tied_with_best: whether a point of the front cannot be distinguished from the lowest DER; None for that one.
    """

    trial: int | None
    origin: str
    standing: Standing
    dominated_by: tuple[int, ...]
    exceeded: tuple[str, ...]
    chunk_length: float | None
    right_context: float | None
    latency: float | None
    pruning: str
    precision: str
    mode: Mode = "chunk-wise"
    online: Mapping[str, float | None] | None = None
    kept: Mapping[str, int] = field(default_factory=dict)
    params: int | None = None
    der: float | None = None
    false_alarm: float | None = None
    missed_detection: float | None = None
    confusion: float | None = None
    size: float | None = None
    rtf: float | None = None
    rtf_low: float | None = None
    rtf_high: float | None = None
    rtf_ratio: float | None = None
    update_latency: Mapping[str, float] | None = None
    stage_shares: Mapping[str, float] | None = None
    peak_memory_mib: float | None = None
    execution: str | None = None
    kernel: str | None = None
    reused_from: int | None = None
    error: str | None = None
    model_key: str | None = None
    model_sha256: str | None = None
    data: Mapping[str, str] | None = None
    versions: Mapping[str, str] | None = None
    paper_params: float | None = None
    paper_size: float | None = None
    paper_rtf: float | None = None
    paper_der: float | None = None
    versus: int | None = None
    der_difference: float | None = None
    der_low: float | None = None
    der_high: float | None = None
    tied: bool | None = None
    tied_with_best: bool | None = None
