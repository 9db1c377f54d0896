"""Racing: stop a trial as soon as its DER, scored recording by recording, can no longer bring it to the front.

Size and RTF of a trial are known before its DER. A complete trial of the same mode (chunk-wise, online or offline) that
is no larger and no slower is a rival: the newcomer must have a lower DER than the rival to reach the front. It is
enough to compare it with the rival of lowest DER, since a DER below that is below every rival's. Reference speech is
the same for every trial of a study, so DERs are compared as seconds of error, summed over recordings.

**Certain bound.** Errors are never negative. Once the newcomer has made more errors than the rival made on all
recordings, it is beaten, whatever the remaining recordings bring. The order of scoring is free, so the recordings on
which the rival made the most errors per second of audio come first. No trial is ever stopped wrongly.

**Betting** is used if there are many recordings. It stops earlier, and wrongly with a probability of at most alpha. Let
`budget` be the seconds of error that the newcomer may still make without being worse than its rival. Recordings are
drawn at random without replacement, recording i next with probability q_i. A share f of the wealth W is staked before
the draw:

    W ← W · (1 − f + f · errors_i / (q_i · budget)),    0 ≤ f ≤ 1

If the newcomer is no worse, the recordings left have errors of at most `budget`, and the payoff
errors_i / (q_i · budget) is at most 1 on average. W is then a nonnegative supermartingale that starts at 1, and by
Ville's inequality the probability that it ever reaches 1 / alpha is at most alpha. So W may be checked after every
recording without a correction. The choice of f affects how soon a bad trial is stopped, but not the bound on how often
a good one is.

- Betting on means, and drawing without replacement: Waudby-Smith and Ramdas, "Estimating means of bounded random
  variables by betting" (arXiv 2010.09686); "Confidence sequences for sampling without replacement" (arXiv 2006.04347).
- Unequal q: Shekhar et al., "Risk-limiting financial audits via weighted sampling without replacement" (arXiv
  2305.06884). Here q is proportional to the errors that the rival's results lead one to expect. Every recording then
  pays about the same; with equal q, a single recording with many errors would determine the stakes.

Betting needs a separate draw for each trial that does not depend on the trial's errors. One order for a whole study
would not be valid: it would influence which trials were stopped, and so which rival the next trial meets.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record

DEFAULT_ALPHA = 0.01  # at most this share of the trials that belong on the front is stopped
BETTING_FROM = 75  # recordings: with fewer, the certain bound in its best order stops as early and is never wrong

TIE = 1e-6  # seconds: errors that differ by less are taken as equal, because of rounding in sums of floats
EVEN = 0.1  # share of the mean errors added to each recording's: the newcomer may err where the rival did not
LARGEST_STAKE = 0.9  # share of the wealth: a recording without errors then leaves a tenth of it
PRIOR = 2.0  # weight, in recordings, of the prior belief that the newcomer is as good as its rival
SPREAD, SPREAD_PRIOR = 0.3, 4.0  # prior relative variance of a recording's errors about the expected ones; its weight


@dataclass(frozen=True)
class Rival:
    """A complete, feasible trial. Plain data, so that it can be sent to a worker.

    errors: its seconds of error by recording (URI). values: (DER %, size MiB, RTF), by which a newcomer's rival is
    chosen.
    """

    trial: int
    errors: Mapping[str, float]
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Rival":
        """Return the rival that a trial of the front is."""
        return cls(trial.number, record.error_seconds(trial), tuple(trial.values))

    @property
    def total(self) -> float:
        """Seconds of error over all recordings."""
        return math.fsum(self.errors.values())


@dataclass(frozen=True)
class Verdict:
    """The finding that a trial is beaten.

    beaten_by: number of the rival. recordings, of: how many were scored, and how many there are. certain: whether no
    result on the remaining recordings could change the verdict. evidence: the wealth that betting made from 1, at least
    1 / alpha; None if the verdict is certain, since JSON has no infinity.
    """

    beaten_by: int
    certain: bool
    evidence: float | None
    recordings: int
    of: int

    def __str__(self) -> str:
        """What happened, in words."""
        sure = "whatever the others bring"
        if self.evidence is not None:
            odds = f"{self.evidence:.0f}"
            sure = f"evidence {odds}, which a trial that is no worse reaches with a probability of 1 in {odds} at most"
        return (
            f"beaten by trial {self.beaten_by}, which is no larger and no slower: after {self.recordings} of {self.of} "
            f"recordings its DER can no longer be the lower ({sure})"
        )


@dataclass(frozen=True)
class Race:
    """A newcomer against its rival. Plain data, so that it can be sent to a worker.

    order: the order in which recordings are scored. alpha: upper bound on the probability of stopping a trial that
    belongs on the front. If it is 0, only the certain bound is used and any order is valid; otherwise the order must be
    the one that `random_order` drew for this newcomer and this rival.
    Raises ValueError if the order is not a permutation of the rival's recordings, or alpha is not in [0, 1).
    """

    order: tuple[str, ...]
    rival: Rival
    alpha: float = DEFAULT_ALPHA

    def __post_init__(self) -> None:
        if sorted(self.order) != sorted(self.rival.errors):
            raise ValueError(
                f"a race over {len(self.order)} recordings against trial {self.rival.trial}, which was scored on "
                f"{len(self.rival.errors)}: both must be scored on the same"
            )
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha:g}: a probability below 1 is needed, 0 for the certain bound alone")

    def verdict(self, errors: Mapping[str, float]) -> Verdict | None:
        """Return the verdict if the newcomer is beaten; None if it may still have, or has, the lower DER.

        errors: its seconds of error on the first recordings of `order`. A newcomer that is beaten stays beaten.
        Once all recordings are scored, the two sums decide.
        Raises ValueError if the errors are not those of the first recordings of the order, or one is negative or not
        finite.
        """
        seen = self._in_order(errors)
        if self._budget(seen) <= 0:
            return Verdict(self.rival.trial, True, None, len(seen), len(self.order))
        if self.alpha == 0 or len(seen) == len(self.order):
            return None
        evidence = max(self.wealth(errors), default=1.0)
        if evidence * self.alpha < 1:
            return None
        return Verdict(self.rival.trial, False, evidence, len(seen), len(self.order))

    def wealth(self, errors: Mapping[str, float]) -> tuple[float, ...]:
        """Return the wealth that betting made from 1, after each recording until the budget was spent.

        errors, ValueError: as for `verdict`.
        """
        seen = self._in_order(errors)
        weights = _weights(self.rival.errors)
        total = math.fsum(weights.values())
        belief = _Belief(self.rival.total / total, PRIOR * total / len(weights))  # as good as its rival
        drawn = [weights[uri] for uri in self.order]
        left = list(accumulate(reversed(drawn)))[::-1]  # weight of each recording and all after it
        budgets = [self._budget(()) - made for made in accumulate(seen, initial=0.0)]
        wealth: list[float] = []
        for weight, weight_left, budget, error in zip(drawn, left, budgets, seen, strict=False):
            if budget <= 0:
                break
            stake = belief.stake(weight_left / budget)
            payoff = error / (weight / weight_left * budget)
            wealth.append((wealth[-1] if wealth else 1.0) * (1.0 - stake + stake * payoff))
            belief = belief.after(error, weight)
        return tuple(wealth)

    def _in_order(self, errors: Mapping[str, float]) -> list[float]:
        first = self.order[: len(errors)]
        if set(first) != set(errors):
            raise ValueError(
                f"errors of {', '.join(errors)}, where the first {len(errors)} recordings of this race are "
                f"{', '.join(first)}: score them in its order"
            )
        wrong = {uri: value for uri, value in errors.items() if not (math.isfinite(value) and value >= 0)}
        if wrong:
            raise ValueError(f"errors are seconds, finite and not negative: {wrong}")
        return [errors[uri] for uri in first]

    def _budget(self, seen: Sequence[float]) -> float:
        """Return the seconds of error that the newcomer may still make without being worse than its rival."""
        return self.rival.total + TIE - math.fsum(seen)


@dataclass(frozen=True)
class _Belief:
    """What the recordings so far suggest about the rest. It only chooses the stakes, so a wrong belief cannot make the
    test invalid.

    rate: expected seconds of error per unit of weight. weight: the total weight that the rate is estimated from.
    spread: relative variance of a recording's errors about the expected ones. seen: the number of recordings that the
    spread is estimated from.
    """

    rate: float
    weight: float
    spread: float = SPREAD
    seen: float = SPREAD_PRIOR

    def stake(self, weight_per_budget: float) -> float:
        """Return the share of the wealth to risk, so that its logarithm grows fastest (Kelly).

        This is exact for a payoff that takes one of two values, with a mean of 1 + edge and a relative variance of
        `spread`.
        """
        edge = self.rate * weight_per_budget - 1.0
        if edge <= 0:
            return 0.0
        risk = self.spread * (1.0 + edge) ** 2 - edge**2  # positive if the lower of the two values would lose
        return min(LARGEST_STAKE, edge / risk) if risk > 0 else LARGEST_STAKE

    def after(self, error: float, weight: float) -> "_Belief":
        surprise = min((error / (self.rate * weight) - 1.0) ** 2, 1.0) if self.rate > 0 else 0.0
        return _Belief(
            rate=(self.rate * self.weight + error) / (self.weight + weight),
            weight=self.weight + weight,
            spread=(self.spread * self.seen + surprise) / (self.seen + 1.0),
            seen=self.seen + 1.0,
        )


def densest_first(rival: Rival, durations: Mapping[str, float]) -> tuple[str, ...]:
    """Return the rival's recordings, starting with the most expected errors per second of audio: for the certain bound.

    durations: seconds of audio by recording.
    """
    weights = _weights(rival.errors)
    return tuple(sorted(weights, key=lambda uri: (-weights[uri] / durations[uri], uri)))


def random_order(rival: Rival, seed: int, trial: int) -> tuple[str, ...]:
    """Draw the order of the rival's recordings for one newcomer, with probability in proportion to the errors expected:
    for betting.

    seed: the study's. trial: number of the newcomer, so that each has its own draw. The result does not depend on the
    order of `rival.errors`. Uses exponential keys: Efraimidis and Spirakis, "Weighted random sampling with a
    reservoir", 2006.
    """
    random = Random(f"scoring order of trial {trial}, seed {seed}")
    weights = _weights(rival.errors)
    keys = {uri: random.expovariate(1.0) / weights[uri] for uri in sorted(weights)}
    return tuple(sorted(keys, key=lambda uri: (keys[uri], uri)))


def _weights(errors: Mapping[str, float]) -> dict[str, float]:
    """Return the expected seconds of error by recording, up to a factor: the rival's, slightly evened out."""
    mean = math.fsum(errors.values()) / len(errors)
    return {uri: value + EVEN * mean if mean > 0 else 1.0 for uri, value in errors.items()}


def strongest_rival(front: Sequence[Rival], size: float, rtf: float) -> Rival | None:
    """Return the rival of lowest DER among the trials of a front that are no larger (MiB) and no slower (RTF).

    None if there is none: the newcomer then reaches the front whatever its DER. The rival itself is on the front: a
    trial that dominates it would be no larger and no slower either, and would be chosen instead.
    """
    rivals = [rival for rival in front if rival.values[1] <= size and rival.values[2] <= rtf]
    return min(rivals, key=lambda rival: rival.values, default=None)


def race(
    front: Sequence[Rival],
    size: float,
    rtf: float,
    durations: Mapping[str, float],
    seed: int,
    trial: int,
    alpha: float = DEFAULT_ALPHA,
) -> Race | None:
    """Return the race of a newcomer of known size (MiB) and RTF; None if no DER could keep it off the front.

    front: at least the front of the newcomer's mode. durations: seconds of audio by recording (URI). seed: the
    study's. trial: number of the newcomer. alpha: see Race; with fewer than BETTING_FROM recordings, 0 is used.
    Raises ValueError if the rival was scored on other recordings.
    """
    rival = strongest_rival(front, size, rtf)
    if rival is None:
        return None
    if set(durations) != set(rival.errors):
        raise ValueError(
            f"trial {rival.trial} was scored on {len(rival.errors)} recordings, which are not the {len(durations)} of "
            "this study: trials on other recordings cannot race"
        )
    if alpha > 0 and len(durations) >= BETTING_FROM:
        return Race(random_order(rival, seed, trial), rival, alpha)
    return Race(densest_first(rival, durations), rival, alpha=0.0)
