"""Settings of model compression: plain values, so that a study's definition can be read without torch."""

from dataclasses import dataclass, field
from typing import Literal

Method = Literal["bce", "powerset", "distill"]
Clipping = Literal["none", "mse"]
SincnetPrecision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class RecoverySettings:
    """How models are trained after pruning and during quantization.

    method: `bce` (binary cross-entropy on RTTM-derived speech activity, the paper's Sec. 4.3), `powerset`
    (permutation-invariant powerset loss on RTTM-derived speakers, arXiv 2310.13025) or `distill` (the unpruned model's
    powerset posteriors as targets, no labels needed). With the last two, removed units are first folded into those that
    stay. steps: of the optimizer after pruning, in all iterations together. qat_steps: of quantization-aware training.
    windows: number of augmented 10 s windows, drawn once. batch: windows per step. learning_rate: its peak.
    """

    method: Method = "distill"
    steps: int = 120
    qat_steps: int = 60
    windows: int = 480
    batch: int = 8
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class QuantizationOptions:
    """Options of the low-bit modes that go beyond the paper.

    group_size: weights of a row that share a scale, at 4 bits; 0 for one scale per row. clipping: `mse` searches, for
    each row, the clipping of its weights with the smallest squared error. sincnet: `int8` stores its convolutions in
    8 bits.
    """

    group_size: int = 0
    clipping: Clipping = "none"
    sincnet: SincnetPrecision = "fp32"


@dataclass(frozen=True)
class CompressionSettings:
    """Settings that all models of a study share. iterations: K of the paper's Sec. 4.3. seed: of all random draws."""

    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    iterations: int = 4
    seed: int = 0
