"""What of a stored trial is believed: one thing after the other is damaged, and each is named."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer import trial_record as record
from explorer.trial_schema import REQUIRED, check, check_same_recordings
from objectives.errors import StudyError
from objectives.operating_point import BASELINE
from tests.explorer.analytic import measurement

TOLD = record.attributes_of(measurement(BASELINE))
ERRORS = TOLD["der"]


def trial(
    user: Mapping[str, Any] = TOLD,
    values: tuple[float, ...] | None = (15.0, 4.0, 0.03),
    state: TrialState = TrialState.COMPLETE,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    found = create_trial(
        state=state, values=[1.0] if state is TrialState.COMPLETE else None, user_attrs=dict(user), system_attrs=system
    )
    found._values = None if values is None else list(values)  # as a database may have it
    found.number = 3
    return found


def test_what_was_measured_is_believed() -> None:
    assert check("study", trial(), whole=True).number == 3
    assert check("study", trial({}), whole=False).number == 3
    assert check("study", trial({}, None, TrialState.FAIL), whole=True).number == 3


@pytest.mark.parametrize("name", REQUIRED)
def test_a_complete_trial_has_all_that_is_asked_of_it_later(name: str) -> None:
    without = {key: value for key, value in TOLD.items() if key != name}
    with pytest.raises(StudyError, match=rf"trial 3 of the study 'study': its attribute .*{name}"):
        check("study", trial(without), whole=True)


DAMAGES: list[tuple[str, object]] = [
    ("der", {**ERRORS, "der": ERRORS["der"] + 0.01}),
    ("der", {**ERRORS, "false_alarm": ERRORS["missed_detection"], "missed_detection": ERRORS["false_alarm"]}),
    ("der", {**ERRORS, "confusion": ERRORS["confusion"] - 0.01}),
    ("der", {**ERRORS, "confusion_seconds": ERRORS["confusion_seconds"] + 1.0}),
    ("der", {**ERRORS, "total_seconds": -1.0}),
    ("der", {**ERRORS, "der": None}),
    ("recordings", {"a": {**TOLD["recordings"]["a"], "missed_detection": 1.0}}),
    ("recordings", {"a": "b"}),
    ("rtf_repeats", []),
    ("rtf_repeats", [-0.1]),
    ("rtf_repeats", ["0.1"]),
    ("rtf_spread", [0.1]),
    ("rtf_spread", [0.1, 0.2, 0.3]),
    ("rtf_ratio", math.nan),
    ("rtf_ratio", -1.0),
    ("threads", 1.5),
    ("params", -1),
    ("size_bytes", "4"),
    ("latency", 0.0),
    ("latency", math.inf),
    ("execution", "guessed"),
    ("origin", "base\nline"),
    ("pruning", "\udcff"),
    ("machine", {"cores": 2}),
    ("kept_units", {"hidden": -1}),
    ("reused_from", -1),
    ("stop", {"kind": "limit"}),
    ("stage_shares", {"segmentation": -0.1}),
    ("update_latency", {"median": 0.1}),
]


@pytest.mark.parametrize(("name", "value"), DAMAGES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_attribute_is_named(name: str, value: object, whole: bool) -> None:
    with pytest.raises(StudyError, match=rf"trial 3 of the study 'study': its attribute '{name}' cannot be read"):
        check("study", trial({**TOLD, name: value}), whole)


def test_percentages_are_those_of_the_seconds_as_exactly_as_floats_are() -> None:
    check("study", trial({**TOLD, "der": {**ERRORS, "der": ERRORS["der"] * (1 + 1e-9)}}), whole=True)
    silent = dict.fromkeys(ERRORS, 0.0) | dict.fromkeys(("der", "false_alarm", "missed_detection", "confusion"))
    check("study", trial({**TOLD, "recordings": {"silent": silent}}), whole=True)


@pytest.mark.parametrize("lacks", ["rtf_repeats", "rtf_spread", "rtf_ratio"])
def test_a_trial_was_timed_whole_or_not_at_all(lacks: str) -> None:
    timed = {"rtf_repeats": [0.1], "rtf_spread": [0.1, 0.1], "rtf_ratio": 1.0}
    check("study", trial(timed, None, TrialState.PRUNED), whole=False)
    del timed[lacks]
    with pytest.raises(StudyError, match=f"it was timed, and {lacks} is not there"):
        check("study", trial(timed, None, TrialState.PRUNED), whole=False)


@pytest.mark.parametrize(
    "values", [None, (15.0, 4.0), (15.0, 4.0, 0.1, 0.1), (15.0, math.inf, 0.1), (math.nan, 4.0, 0.1)]
)
def test_a_complete_trial_has_three_numbers(values: tuple[float, ...] | None) -> None:
    with pytest.raises(StudyError, match=r"its values .* and not DER, size and RTF"):
        check("study", trial(values=values), whole=False)


@pytest.mark.parametrize("name", ["constraints", "constraints:size"])
@pytest.mark.parametrize("excess", ["0.1", None, True, math.nan])
def test_an_excess_is_a_number(name: str, excess: object) -> None:
    told = [0.5, excess] if name == "constraints" else excess
    with pytest.raises(StudyError, match=f"its attribute '{name}' .*holds no number"):
        check("study", trial(system={name: told}), whole=False)
    check("study", trial(system={name: [0.5, -1] if name == "constraints" else -1, "driver": excess}), whole=False)


def test_trials_of_other_recordings_are_named_beside_the_first() -> None:
    def of(*uris: str, number: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
        found = trial({"recordings": dict.fromkeys(uris, TOLD["recordings"]["a"])}, state=state)
        found.number = number
        return found

    stopped = of("a", number=0, state=TrialState.PRUNED)  # as far as it came
    check_same_recordings("study", [stopped, of("a", "b", number=1), of("b", "a", number=2)])
    with pytest.raises(StudyError, match=r"trial 3 .*\(c: of trial 1 and of this one, only one has it"):
        check_same_recordings("study", [of("a", "b", number=n) for n in (1, 2)] + [of("a", "b", "c", number=3)])
    with pytest.raises(StudyError, match=r"trial 2 .*\(b: of trial 1"):
        check_same_recordings("study", [of("a", "b", number=1), of("a", number=2), of("a", "b", number=3)])
