"""Racing: stop a trial as soon as its DER, scored recording by recording, can no longer bring it to the front.

Size and RTF of a trial are known before its DER. A complete trial of the same mode (chunk-wise, online or offline) that
is no larger and no slower is a rival: against it only a lower DER can save the newcomer. Of all rivals the one with the
lowest DER decides alone, since a DER that is not below some rival's is not below the lowest either. Reference speech is
the same for every trial of a study, so DERs compare as seconds of error, summed over recordings.

**Certain bound.** Errors are never negative: once the newcomer has made more than the rival made on all recordings, it
is beaten, whatever comes. The order of scoring is free, so recordings come first where the rival made the most errors
per second of audio. Nobody is ever stopped wrongly.

**Betting**, where recordings are many, stops earlier and is wrong with probability alpha at most. With `budget` seconds
the errors that the newcomer may still make if it is to be no worse than its rival, recordings are drawn at random and
without replacement, recording i next with probability q_i. A share f of the wealth W is staked before the draw:

    W ← W · (1 − f + f · errors_i / (q_i · budget)),    0 ≤ f ≤ 1

If the newcomer is no worse, the recordings left have errors of at most `budget`, and the payoff
errors_i / (q_i · budget) is at most 1 on average. W is then a nonnegative supermartingale that starts at 1, and by
Ville's inequality the probability that it ever reaches 1 / alpha is at most alpha: to look after each recording costs
nothing. How f is chosen decides how soon a bad trial is stopped, never how often a good one is.

- Betting on means, and drawing without replacement: Waudby-Smith and Ramdas, "Estimating means of bounded random
  variables by betting" (arXiv 2010.09686); "Confidence sequences for sampling without replacement" (arXiv 2006.04347).
- Unequal q: Shekhar et al., "Risk-limiting financial audits via weighted sampling without replacement" (arXiv
  2305.06884). Here q is in proportion to the errors that the rival leads to expect: every recording then pays about the
  same, where with equal q one recording of many errors rules the stakes.

Betting asks for a draw of its own for each trial, made from nothing that depends on the trial's errors. One order for a
whole study would not do: who was stopped, and so whom the next trial meets, would depend on it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record

DEFAULT_ALPHA = 0.01  # at most this share of the trials that belong on the front is stopped
BETTING_FROM = 75  # recordings: with fewer, the certain bound in its best order stops as early, and is never wrong

TIE = 1e-6  # seconds: errors that differ by less are equal, as sums of floats go
EVEN = 0.1  # of the mean errors, added to each recording's: where the rival made none, the newcomer may
LARGEST_STAKE = 0.9  # of the wealth: a recording without errors then leaves a tenth of it
PRIOR = 2.0  # recordings' worth of belief that the newcomer is as good as its rival
SPREAD, SPREAD_PRIOR = 0.3, 4.0  # relative variance of a recording's errors about what is expected, and its weight


@dataclass(frozen=True)
class Rival:
    """A complete trial that is no larger and no slower. errors: its seconds of error by recording (URI)."""

    trial: int
    errors: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of error over all recordings."""
        return math.fsum(self.errors.values())


@dataclass(frozen=True)
class Verdict:
    """A trial is beaten. beaten_by: number of the rival. recordings: scored until then, of so many.

    certain: nothing that the recordings left may bring could change it. evidence: else what betting made of 1, at least
    1 / alpha; None where it is certain, since no odds are left (and infinity is no JSON).
    """

    beaten_by: int
    certain: bool
    evidence: float | None
    recordings: int
    of: int

    def __str__(self) -> str:
        """What happened, for people."""
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
    """A newcomer against its rival. order: in which recordings are scored.

    alpha: probability of stopping a trial that belongs on the front, at most. With 0 the certain bound is all, and any
    order will do; else it must be as `random_order` drew it for this newcomer and this rival. Plain data, so that a
    worker can be sent it. Raises ValueError where the order is not one of the rival's recordings, or alpha is no
    probability.
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
        """Whether the newcomer is beaten; None while it may still have the lower DER, and for good where it has.

        errors: its seconds of error on the first recordings of `order`. Once it is beaten it stays so, and with all
        recordings scored the verdict is that of the two sums. Raises ValueError where the errors are not those of the
        first recordings of the order, or one is negative or not finite.
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
        """What betting made of 1 after each recording, until the budget was spent.

        errors, ValueError: as for `verdict`.
        """
        seen = self._in_order(errors)
        weights = _weights(self.rival.errors)
        total = math.fsum(weights.values())
        belief = _Belief(self.rival.total / total, PRIOR * total / len(weights))  # as good as its rival
        drawn = [weights[uri] for uri in self.order]
        left = list(accumulate(reversed(drawn)))[::-1]  # weight of a recording and of those after it
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
        """Seconds of error that the newcomer may still make without being worse than its rival."""
        return self.rival.total + TIE - math.fsum(seen)


@dataclass(frozen=True)
class _Belief:
    """What the recordings so far say of the rest. It chooses the stakes, and no error of it can make a test invalid.

    rate: seconds of error to expect per weight, which `weight` stands behind. spread: relative variance of a
    recording's errors about that, behind which `seen` recordings stand.
    """

    rate: float
    weight: float
    spread: float = SPREAD
    seen: float = SPREAD_PRIOR

    def stake(self, weight_per_budget: float) -> float:
        """Share of the wealth to risk: what makes its logarithm grow fastest (Kelly).

        Exactly so for a payoff that is one of two values, 1 + edge on average, with a relative variance of `spread`.
        """
        edge = self.rate * weight_per_budget - 1.0
        if edge <= 0:
            return 0.0
        risk = self.spread * (1.0 + edge) ** 2 - edge**2  # positive where the lower of the two would lose
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
    """The rival's recordings, those first where most errors are expected per second of audio: for the certain bound.

    durations: seconds of audio by recording.
    """
    weights = _weights(rival.errors)
    return tuple(sorted(weights, key=lambda uri: (-weights[uri] / durations[uri], uri)))


def random_order(rival: Rival, seed: int, trial: int) -> tuple[str, ...]:
    """The rival's recordings as drawn for one newcomer, each next in proportion to the errors expected: for betting.

    seed: the study's. trial: number of the newcomer, so that each has a draw of its own. The same whatever the order of
    `rival.errors`. By exponential keys: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    random = Random(f"scoring order of trial {trial}, seed {seed}")
    weights = _weights(rival.errors)
    keys = {uri: random.expovariate(1.0) / weights[uri] for uri in sorted(weights)}
    return tuple(sorted(keys, key=lambda uri: (keys[uri], uri)))


def _weights(errors: Mapping[str, float]) -> dict[str, float]:
    """Seconds of error to expect by recording, up to a factor: the rival's, evened out a little."""
    mean = math.fsum(errors.values()) / len(errors)
    return {uri: value + EVEN * mean if mean > 0 else 1.0 for uri, value in errors.items()}


@dataclass(frozen=True)
class Member:
    """A complete, feasible trial. values: (DER %, size MiB, RTF). Plain data, so that a worker can be sent it."""

    values: tuple[float, ...]
    rival: Rival

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Member":
        """A trial of the front."""
        return cls(tuple(trial.values), Rival(trial.number, record.error_seconds(trial)))


def strongest_rival(members: Sequence[Member], size: float, rtf: float) -> Rival | None:
    """The one of lowest DER among those that are no larger (MiB) and no slower (RTF).

    None where there is none: then the newcomer reaches the front whatever its DER. The rival itself is on the front:
    what dominates it would be no larger and no slower either, and come before it.
    """
    rivals = [member for member in members if member.values[1] <= size and member.values[2] <= rtf]
    return min(rivals, key=lambda member: member.values).rival if rivals else None


def race(
    members: Sequence[Member],
    size: float,
    rtf: float,
    durations: Mapping[str, float],
    seed: int,
    trial: int,
    alpha: float = DEFAULT_ALPHA,
) -> Race | None:
    """The race that a newcomer of known size (MiB) and RTF has to run; None where no DER could keep it off the front.

    members: of the front of the newcomer's mode, at least. durations: seconds of audio by recording (URI). seed: the
    study's. trial: number of the newcomer. alpha: see Race; with fewer than BETTING_FROM recordings it is 0. Raises
    ValueError where the rival was scored on other recordings.
    """
    rival = strongest_rival(members, size, rtf)
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
