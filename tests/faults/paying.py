"""An evaluator by formula that keeps a record of what was paid, in a file that outlives every kill."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from objectives.measurement import UNHURRIED, Judge, Measurement, Stopped
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator


@dataclass(frozen=True)
class Paying:
    """Builds evaluators that take up to twice `seconds`. ledger: a line for each measurement that was begun, and for
    each that was made to its end."""

    ledger: Path
    seconds: float

    def __call__(self, accuracy_threads: int | None = None) -> "PayingEvaluator":
        return PayingEvaluator(seconds=self.seconds, ledger=self.ledger)

    def begun(self) -> Counter[str]:
        """How often each point's measurement was begun."""
        return self._count("begun")

    def made(self) -> Counter[str]:
        """How often each point was measured to its end; one that was stopped was not."""
        return self._count("made")

    def _count(self, what: str) -> Counter[str]:
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return Counter(point for kind, _, point in (line.partition(" ") for line in lines) if kind == what)


@dataclass
class PayingEvaluator(AnalyticEvaluator):
    """See Paying."""

    ledger: Path = Path("ledger")

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        self._note("begun", point)
        time.sleep(random.uniform(0.0, self.seconds))
        measurement = super().__call__(point, on_progress, judge)
        if isinstance(measurement, Measurement):
            self._note("made", point)
        return measurement

    def _note(self, what: str, point: OperatingPoint) -> None:
        with self.ledger.open("a") as file:
            file.write(f"{what} {point!r}\n")
