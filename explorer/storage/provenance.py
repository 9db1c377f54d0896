"""Where figures come from: the versions of packages that trials were measured with, and whether these are mixed.

Other versions of torch or ONNX Runtime are another machine, and a study that is resumed with them is refused. Those of
the others rarely change a label, so such a study goes on; but it says so wherever its figures are shown.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record

NOT_KEPT = "not kept"
MOST_NAMED = 8  # runs of trials that a sentence names


def versions_of(trial: FrozenTrial) -> Mapping[str, str] | None:
    """What a trial was measured with; None where it was not measured, or by a version that did not keep it."""
    told: Mapping[str, str] | None = trial.user_attrs.get(record.VERSIONS)
    return told or None


def mixed_versions(told: Mapping[int, Mapping[str, str] | None]) -> tuple[str, ...]:
    """A sentence for each package of which several versions measured these trials; none where all are alike.

    told: versions by number of the trial. `numpy 2.4.5 (trials 0–7, 9) and 2.4.6 (trials 8, 10–13)`.
    """
    known = [versions for versions in told.values() if versions]
    if not known:
        return ()
    found = []
    for name in dict.fromkeys(name for versions in known for name in versions):
        by: defaultdict[str, list[int]] = defaultdict(list)
        for number, versions in sorted(told.items()):
            by[versions.get(name, NOT_KEPT) if versions else NOT_KEPT].append(number)
        if len(by.keys() - {NOT_KEPT}) > 1:
            found.append(f"{name} " + " and ".join(f"{version} ({_trials(of)})" for version, of in by.items()))
    return tuple(found)


def changed_versions(trials: Sequence[FrozenTrial], now: Mapping[str, str]) -> tuple[str, ...]:
    """`numpy 2.4.5 → 2.4.6` for each package that is another one than when the last of these trials was measured."""
    last = next((told for trial in reversed(trials) if (told := versions_of(trial))), None)
    if last is None:
        return ()
    return tuple(f"{name} {old} → {now[name]}" for name, old in last.items() if now.get(name, old) != old)


def in_words(mixed: Iterable[str]) -> str:
    """What is to be known of figures that trials of several versions gave."""
    return f"measured with several versions, which may decide a label otherwise: {'; '.join(mixed)}"


def _trials(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:MOST_NAMED]]
    more = ", …" if len(runs) > MOST_NAMED else ""
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(told)}{more}"
