"""The tables of a study's TOML file, except [space]: fields, defaults and validation."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from objectives.compression.settings import (
    Clipping,
    CompressionSettings,
    Method,
    QuantizationOptions,
    RecoverySettings,
    SincnetPrecision,
)
from objectives.operating_point import UNPRUNED, Precision
from studies.fixed_points import Sweep, pruning_of
from studies.paper_results import PaperTable


class Table(BaseModel):
    """Frozen; refuses unknown keys, infinities and values of a wrong type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"{list(values)} repeats a value: name each once")
    return values


def _variant_or_choice(value: str) -> str:
    if value not in CHOICES and pruning_of(value) == UNPRUNED:
        raise ValueError("Table 2 is about a pruned model: use calib, eval, or a variant such as Linear-40")
    return value


def _variants(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        pruning_of(value)
    return _each_once(values)


CHOICES = ("calib", "eval")  # the split on which Table 2's variant is chosen, if it is not named
Values = Annotated[tuple[float, ...], AfterValidator(_each_once)]


class Fixed(Table):
    """Points that are measured whatever the sampler proposes, besides the baseline, which always is.

    sweeps: whole sweeps of the paper. chunk_length: values of C in seconds at R = 0. right_context: values of R in
    seconds at C = 1 s. tables: whole tables of the paper. variants: rows of Table 1, such as `Hidden-40`, and pruned
    models beside it, such as `Both-50`. precisions: rows of Table 2.

    table2_variant: the pruned model of Table 2. `calib` chooses the lowest DER on the calib split, among the pruned
    variants of the study or, if it has none, of Table 1. `eval` chooses on the study's own split, as the paper did. Any
    other value names the variant.
    """

    sweeps: Annotated[tuple[Sweep, ...], AfterValidator(_each_once)] = ()
    chunk_length: Values = ()
    right_context: Values = ()
    tables: Annotated[tuple[PaperTable, ...], AfterValidator(_each_once)] = ()
    variants: Annotated[tuple[str, ...], AfterValidator(_variants)] = ()
    precisions: Annotated[tuple[Precision, ...], AfterValidator(_each_once)] = ()
    table2_variant: Annotated[str, AfterValidator(_variant_or_choice)] = "calib"


class Pruning(Table):
    """How models are pruned. iterations: K of the paper's Sec. 4.3, with a share of the recovery after each."""

    iterations: int = Field(default=CompressionSettings.iterations, ge=1)


class Recovery(Table):
    """How pruned and quantized models are trained: see objectives.compression.settings.RecoverySettings."""

    method: Method = RecoverySettings.method
    steps: int = Field(default=RecoverySettings.steps, ge=0)
    qat_steps: int = Field(default=RecoverySettings.qat_steps, ge=0)
    windows: int = Field(default=RecoverySettings.windows, ge=1)
    batch: int = Field(default=RecoverySettings.batch, ge=1)
    learning_rate: float = Field(default=RecoverySettings.learning_rate, gt=0)


class Quantization(Table):
    """What low-bit modes do beyond the paper: see objectives.compression.settings.QuantizationOptions."""

    group_size: int = Field(default=QuantizationOptions.group_size, ge=0)
    clipping: Clipping = QuantizationOptions.clipping
    sincnet: SincnetPrecision = QuantizationOptions.sincnet


def _least_and_most(given: object) -> object:
    """Read one number as both the least and the most."""
    if given is None:
        return None
    both = given if isinstance(given, list | tuple) else (given, given)
    if len(both) != 2 or any(type(each) is not int for each in both) or not 1 <= both[0] <= both[1]:
        raise ValueError("give a number from 1 up, or the least and the most, such as [2, 3]")
    return tuple(both)


class Models(Table):
    """segmentation, embedding: a known name or a checkpoint.

    clustering_threshold: None to count speakers without one (streaming modes), or for the embedding's own (offline).
    speakers: how many a recording has, or the least and the most; None if they are to be counted.
    """

    segmentation: str = "pyannote/segmentation-3.0"
    embedding: str = "campplus"
    clustering_threshold: float | None = Field(default=None, gt=0)
    speakers: Annotated[tuple[int, int] | None, BeforeValidator(_least_and_most)] = None


class Cost(Table):
    """How RTF is timed. repeats: timed passes; their median counts. threads: of the model's runtime."""

    repeats: int = Field(default=3, ge=3)
    threads: int = Field(default=1, ge=1)


class Limits(Table):
    """Budgets: the largest value that still counts as feasible; None for no budget.

    latency: seconds, C + R plus the pauses that the online mode waits for. der: percent. size: MiB. rtf: seconds of
    compute per second of audio.
    """

    latency: float | None = Field(default=None, gt=0)
    der: float | None = Field(default=None, gt=0)
    size: float | None = Field(default=None, gt=0)
    rtf: float | None = Field(default=None, gt=0)

    def given(self) -> dict[str, float]:
        """The budgets that were set, by name."""
        return self.model_dump(exclude_none=True)


class Racing(Table):
    """When to stop trials that can no longer reach the front. alpha: at most this share of the trials that belong on
    the front is stopped; with 0, a trial is stopped only if this is certain."""

    enabled: bool = True
    alpha: float = Field(default=0.01, ge=0, lt=1)
