"""The precision modes of the segmentation model: how each is made, and what runs it. Needs no torch.

The paper's Table 2 has these six. To add one, name it in `Precision` and give it an entry here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from objectives.measurement import Execution
from objectives.operating_point import Precision

Bits = Literal[4, 8]
Engine = Literal["onnxruntime cpu", "torch cpu", "torch cuda"]


@dataclass(frozen=True)
class PrecisionMode:
    """How a precision mode is made and run.

    bits: of a stored value. With 32 and 16, all values are floating-point numbers. With 8 and 4, the LSTM and Linear
    weights are integers and activations have 8 bits; ranges are then calibrated on the corpus' `calib`.
    trained: whether its training, on `train`, emulates the rounding. False for rounding after training.
    native_on: engines that have kernels for it. Elsewhere it is emulated, so that its RTF is never a gain.
    """

    bits: Literal[4, 8, 16, 32]
    native_on: tuple[Engine, ...]
    trained: bool = False

    @property
    def integer_bits(self) -> Bits | None:
        """Bits of the LSTM and Linear weights if they are integers."""
        return self.bits if self.bits in (4, 8) else None

    def execution(self, engine: Engine) -> Execution:
        """Return whether an engine runs this precision natively or emulates it.

        >>> PRECISION_MODES["fp16"].execution("onnxruntime cpu")
        'emulated'
        """
        return "native" if engine in self.native_on else "emulated"


PRECISION_MODES: Mapping[Precision, PrecisionMode] = {
    "fp32": PrecisionMode(32, native_on=("onnxruntime cpu", "torch cpu", "torch cuda")),
    "fp16": PrecisionMode(16, native_on=("torch cuda",)),
    "int8_ptq": PrecisionMode(8, native_on=("onnxruntime cpu",)),
    "int8_qat": PrecisionMode(8, native_on=("onnxruntime cpu",), trained=True),
    "int4_ptq": PrecisionMode(4, native_on=("onnxruntime cpu",)),
    "int4_qat": PrecisionMode(4, native_on=("onnxruntime cpu",), trained=True),
}
