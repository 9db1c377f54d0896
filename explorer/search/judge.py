"""Decide when to stop a search trial: when it exceeds a hard budget, or loses a race against the front of its mode.

A trial's size is known first, then its RTF, then its errors recording by recording. Each is judged as soon as it is
known. Fixed points have no judge.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from explorer.search.known_points import KnownPoints
from explorer.search.racing import DEFAULT_ALPHA, Race, Rival, race
from objectives.measurement import ErrorCounts, Stop
from objectives.operating_point import Mode
from studies.definition import StudyDefinition


@dataclass
class FrontJudge:
    """Judges one trial against the budgets, and against the front of its mode as it was when the trial was asked.

    trial: its number. seed: the study's; both determine the order of scoring. limits: budgets by name. front: the
    members of the front. reference: seconds of scored speech in all recordings, None before anything was measured.
    alpha: see racing.Race.
    """

    trial: int
    seed: int
    limits: Mapping[str, float]
    front: tuple[Rival, ...]
    reference: float | None
    alpha: float = DEFAULT_ALPHA
    _race: Race | None = field(default=None, init=False)

    @classmethod
    def of(cls, trial: int, mode: Mode, definition: StudyDefinition, known: KnownPoints) -> "FrontJudge":
        """Return the judge of a trial whose point has this mode, given what its study knows so far."""
        return cls(
            trial=trial,
            seed=definition.seed,
            limits=definition.limits.given(),
            front=known.members(mode) if definition.racing.enabled else (),
            reference=known.reference,
            alpha=definition.racing.alpha,
        )

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        """See objectives.measurement.Judge.order."""
        self._race = race(self.front, size, rtf, durations, self.seed, self.trial, self.alpha)
        return self._race.order if self._race else ()

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> Stop | None:
        """See objectives.measurement.Judge.look."""
        for name, reached in (("size", size), ("rtf", rtf)):
            if reached is not None and reached > self.limits.get(name, math.inf):
                return _over(name, reached, self.limits[name])
        errors = {uri: count.seconds for uri, count in counts.items()}
        if self.reference:
            least = 100.0 * math.fsum(errors.values()) / self.reference  # a lower bound: errors can only grow
            if least > self.limits.get("der", math.inf):
                return _over("der", least, self.limits["der"], least_der=least)
        if self._race and errors and (verdict := self._race.verdict(errors)):
            return Stop("raced", str(verdict), asdict(verdict))
        return None


def _over(name: str, reached: float, limit: float, **details: float) -> Stop:
    what = {"size": "size (MiB)", "rtf": "RTF", "der": "DER (%), the recordings left out for free,"}[name]
    return Stop("limit", f"{what} is {reached:.4g}, over the budget of {limit:g}", details)
