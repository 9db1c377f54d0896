"""Explain why a run stopped itself: which trials failed in a row, and what they have in common."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from objectives.compression.precisions import PRECISION_MODES
from objectives.operating_point import UNPRUNED, OperatingPoint


@dataclass(frozen=True)
class Failure:
    """A trial that could not be measured. reason: the message of its error. worker: the `host:process` that tried, None
    if there is only one worker."""

    number: int
    origin: str
    point: OperatingPoint
    reason: str
    worker: str | None

    @property
    def bare_reason(self) -> str:
        """The reason, without the operating point that some reasons begin with."""
        return self.reason.removeprefix(f"{self.point}: ")


def diagnosis(failures: Sequence[Failure], recordings: Collection[str]) -> str:
    """Return what a user should know and do about one or more failures. recordings: URIs that a reason may name."""
    numbers = ", ".join(str(failure.number) for failure in failures)
    lines = [f"{len(failures)} trials failed one after the other ({numbers}), so the run stops."]
    reasons = {failure.bare_reason for failure in failures}
    if len(reasons) == 1:
        lines.append(f"The reason is the same each time: {reasons.pop()}")
    else:
        lines.append("The reasons differ:")
        lines.extend(f"  trial {failure.number} ({failure.origin}): {failure.reason}" for failure in failures)
    shared = in_common(failures, recordings)
    lines.append(
        f"What these trials have in common: {', '.join(shared)}."
        if shared
        else "Model, precision, recordings and worker have nothing in common: look at the machine (memory, disk) first."
    )
    lines.append(
        "Fix that and run the same command again: everything finished is kept, and fixed points that failed are tried "
        "again. `--stop-after-failures` says how many it takes, 0 to go on whatever fails."
    )
    return "\n".join(lines)


def in_common(failures: Sequence[Failure], recordings: Collection[str]) -> list[str]:
    """Return, in words, what all these failures share that trials in general do not."""
    points = [failure.point for failure in failures]
    shared = []
    structures = {point.pruning.structure for point in points}
    if UNPRUNED.structure not in structures:
        shared.append("a pruned model" + (f" (structure {structures.pop()})" if len(structures) == 1 else ""))
    precisions = {point.precision for point in points}
    if len(precisions) == 1:
        shared.append(f"precision {precisions.pop()}")
    elif all(PRECISION_MODES[precision].integer_bits for precision in precisions):
        shared.append("a low-bit precision")
    shared.extend(f"recording {uri}" for uri in recordings if all(_names(failure.reason, uri) for failure in failures))
    workers = {failure.worker for failure in failures}
    if len(workers) == 1 and (worker := workers.pop()) is not None:
        shared.append(f"worker {worker}")
    return shared


def _names(reason: str, uri: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(uri)}(?![\w-])", reason) is not None
