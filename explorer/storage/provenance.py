"""The versions of packages that trials were measured with, and whether a study mixes several.

A study cannot be resumed with another version of torch or ONNX Runtime, which counts as another machine. A version of
another package rarely changes a label, so the study goes on, with a remark wherever its figures are shown.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record

NOT_KEPT = "not kept"
MOST_NAMED = 8  # ranges of trial numbers in one sentence


def versions_of(trial: FrozenTrial) -> Mapping[str, str] | None:
    """Return the package versions that a trial was measured with.

    None if it was not measured, or by an earlier version of explorer, which did not record them.
    """
    versions: Mapping[str, str] | None = trial.user_attrs.get(record.VERSIONS)
    return versions or None


def mixed_versions(by_trial: Mapping[int, Mapping[str, str] | None]) -> tuple[str, ...]:
    """Return a phrase for each package that these trials were measured with several versions of.

    Such as `numpy 2.4.5 (trials 0–7, 9) and 2.4.6 (trials 8, 10–13)`. by_trial: versions by trial number.
    """
    known = [versions for versions in by_trial.values() if versions]
    if not known:
        return ()
    mixed = []
    for name in dict.fromkeys(name for versions in known for name in versions):
        by: defaultdict[str, list[int]] = defaultdict(list)
        for number, versions in sorted(by_trial.items()):
            by[versions.get(name, NOT_KEPT) if versions else NOT_KEPT].append(number)
        if len(by.keys() - {NOT_KEPT}) > 1:
            mixed.append(f"{name} " + " and ".join(f"{version} ({_trials(of)})" for version, of in by.items()))
    return tuple(mixed)


def changed_versions(trials: Sequence[FrozenTrial], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return `numpy 2.4.5 → 2.4.6` for each package that has changed since the last of these trials was measured."""
    last = next((versions for trial in reversed(trials) if (versions := versions_of(trial))), None)
    if last is None:
        return ()
    return tuple(f"{name} {old} → {now[name]}" for name, old in last.items() if now.get(name, old) != old)


def in_words(mixed: Iterable[str]) -> str:
    """Return the remark about figures of trials that were measured with several versions."""
    return f"measured with several versions, which may decide a label otherwise: {'; '.join(mixed)}"


def _trials(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ranges = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:MOST_NAMED]]
    more = ", …" if len(runs) > MOST_NAMED else ""
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(ranges)}{more}"
