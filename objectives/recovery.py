"""Recovery: short fine-tuning of what comes after SincNet, on recordings of `train` only."""

from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal["bce", "powerset", "distill"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class RecoverySettings:
    """How models are trained after pruning and while quantizing.

    method: `bce` (binary cross-entropy on RTTM-derived speech activity, the paper's Sec. 4.3), `powerset`
    (permutation-invariant powerset loss on RTTM-derived speakers, arXiv 2310.13025) or `distill` (the unpruned model's
    powerset posteriors as targets, no labels needed). steps: of the optimizer after pruning, all iterations together.
    qat_steps: of quantization-aware training. windows: augmented 10 s windows that are drawn once and trained on.
    batch: windows a step. learning_rate: its peak.
    """

    method: Method = "distill"
    steps: int = 200
    qat_steps: int = 60
    windows: int = 480
    batch: int = 16
    learning_rate: float = 2e-3
