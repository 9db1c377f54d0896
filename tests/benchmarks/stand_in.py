"""Measurements by formula that look like real ones: thirty recordings, attributes as large as theirs."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from random import Random

from objectives.measurement import UNHURRIED, ErrorCounts, Judge, Measurement, Stopped, Timing
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import judged

MIB = 2**20
RECORDINGS = 30
BITS = {"fp32": 32, "fp16": 16, "int8_ptq": 8, "int8_qat": 8, "int4_ptq": 4, "int4_qat": 4}
MACHINE = {
    "processor": "AMD EPYC",
    "cores": "2",
    "system": "Linux x86_64",
    "torch": "2.13.0+cpu",
    "onnxruntime": "1.32.0",
}


class StandIn:
    """Answers at once. DER falls with latency and rises with what is cut away, RTF falls with C and pruning, size with
    pruning and precision; each with the noise that measuring brings, the same whenever a point is asked for."""

    identity: Mapping[str, str] = {"corpus": "stand-in", "machine": "a formula"}

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        """The measurement, as far as the judge lets it come."""
        return judged(self._measurement(point), judge)

    @cached_property
    def _speech(self) -> dict[str, float]:
        draw = Random("speech")
        return {f"dispatch_{number:04d}_two_speakers": draw.uniform(15.0, 40.0) for number in range(RECORDINGS)}

    def _measurement(self, point: OperatingPoint) -> Measurement:
        draw = Random(f"{point}")
        pruning = point.pruning
        hidden = round(128 * (1 - pruning.ratio)) if pruning.structure in ("hidden", "both") else 128
        linear = round(128 * (1 - pruning.ratio)) if pruning.structure in ("linear", "both") else 128
        params = 60_000 + 85 * hidden**2 + 300 * linear
        der = 12.0 + 2.0 / (point.latency + 0.2) + 20.0 * (1 - hidden / 128) ** 2 + 5.0 * (1 - linear / 128)
        der += {4: 3.0, 8: 0.5}.get(BITS[point.precision], 0.0)
        counts = {uri: self._errors(draw, der, speech) for uri, speech in self._speech.items()}
        rtf = (0.01 + 0.06 / point.chunk_length * (0.4 + 0.6 * hidden / 128)) * draw.gauss(1.0, 0.05)
        return Measurement(
            operating_point=point,
            counts=counts,
            size_bytes=params * BITS[point.precision] // 8 + 16_384,
            params=params,
            timing=Timing(
                rtf=tuple(rtf * draw.gauss(1.0, 0.03) for _ in range(3)),
                baseline_rtf=tuple(draw.gauss(0.07, 0.002) for _ in range(3)),
                threads=1,
                updates=tuple(rtf * point.chunk_length * draw.gauss(1.0, 0.1) for _ in range(120)),
                stages={"segmentation": 0.6, "embedding": 0.3, "clustering": 0.06, "other": 0.04},
                peak_memory=400 * MIB,
            ),
            kernel="a formula",
            execution="emulated" if point.precision == "fp16" else "native",
            model_key=hashlib.sha256(f"{pruning} {point.precision}".encode()).hexdigest()[:32],
            machine=MACHINE,
            kept={"hidden": hidden, "linear": linear},
            story=_story(draw, params, hidden, linear),
        )

    @staticmethod
    def _errors(draw: Random, der: float, speech: float) -> ErrorCounts:
        wrong = speech * der / 100.0 * draw.uniform(0.7, 1.3)
        shares = sorted((draw.random(), draw.random()))
        return ErrorCounts(wrong * shares[0], wrong * (shares[1] - shares[0]), wrong * (1 - shares[1]), speech)

    def calibration_errors(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None]
    ) -> Mapping[str, ErrorCounts]:
        """Those of the measurement: nobody asks here how calib differs."""
        return self._measurement(point).counts

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Nothing to read."""

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to let go of."""


def _story(draw: Random, params: int, hidden: int, linear: int) -> dict[str, object]:
    """Of a model that was pruned in four rounds, recovered and quantized."""
    kept = {"hidden": hidden, "linear": linear}
    rounds = [{"kept": kept, "before": draw.random(), "after": draw.random(), "steps": 30, "best": 30}] * 4
    trained = {"before": draw.random(), "after": draw.random(), "steps": 40, "best": 0}
    quantized = {"bits": 8, "calibration_windows": 24, "trained": trained}
    return {"params": params, "kept": kept, "recovered": rounds, "quantized": quantized, "build_seconds": 29.202}
