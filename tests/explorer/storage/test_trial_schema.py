"""What of a stored trial is believed: one thing after the other is damaged, and each is named."""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.storage import trial_record as record
from explorer.storage.trial_schema import REQUIRED, TrialAttributes, fault, unlike_the_others
from objectives.operating_point import BASELINE
from tests.support.analytic_evaluator import measurement

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
    assert fault(trial(), whole=True) is None
    assert fault(trial({}), whole=False) is None
    assert fault(trial({}, None, TrialState.FAIL), whole=True) is None


@pytest.mark.parametrize("name", REQUIRED)
def test_a_complete_trial_has_all_that_is_asked_of_it_later(name: str) -> None:
    without = {key: value for key, value in TOLD.items() if key != name}
    assert name in (fault(trial(without), whole=True) or "").rpartition("Value error")[2]


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
    assert (fault(trial({**TOLD, name: value}), whole) or "").startswith(f"its attribute '{name}' cannot be read")


def test_percentages_are_those_of_the_seconds_as_exactly_as_floats_are() -> None:
    assert fault(trial({**TOLD, "der": {**ERRORS, "der": ERRORS["der"] * (1 + 1e-9)}}), whole=True) is None
    silent = dict.fromkeys(ERRORS, 0.0) | dict.fromkeys(("der", "false_alarm", "missed_detection", "confusion"))
    assert fault(trial({**TOLD, "recordings": {"silent": silent}}), whole=True) is None


@pytest.mark.parametrize("lacks", ["rtf_repeats", "rtf_spread", "rtf_ratio"])
def test_a_trial_was_timed_whole_or_not_at_all(lacks: str) -> None:
    timed = {"rtf_repeats": [0.1], "rtf_spread": [0.1, 0.1], "rtf_ratio": 1.0}
    assert fault(trial(timed, None, TrialState.PRUNED), whole=False) is None
    del timed[lacks]
    assert f"it was timed, and {lacks} is not there" in (
        fault(trial(timed, None, TrialState.PRUNED), whole=False) or ""
    )


@pytest.mark.parametrize(
    "values", [None, (15.0, 4.0), (15.0, 4.0, 0.1, 0.1), (15.0, math.inf, 0.1), (math.nan, 4.0, 0.1)]
)
def test_a_complete_trial_has_three_numbers(values: tuple[float, ...] | None) -> None:
    assert re.fullmatch(r"its values .* and not DER, size and RTF", fault(trial(values=values), whole=False) or "")


@pytest.mark.parametrize("name", ["constraints", "constraints:size"])
@pytest.mark.parametrize("excess", ["0.1", None, True, math.nan])
def test_an_excess_is_a_number(name: str, excess: object) -> None:
    told = [0.5, excess] if name == "constraints" else excess
    assert re.match(f"its attribute '{name}' .*is not a number", fault(trial(system={name: told}), whole=False) or "")
    right = {name: [0.5, -1] if name == "constraints" else -1, "driver": excess}
    assert fault(trial(system=right), whole=False) is None


def test_trials_of_other_recordings_than_most_are_named() -> None:
    def of(*uris: str, number: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
        found = trial({"recordings": dict.fromkeys(uris, TOLD["recordings"]["a"])}, state=state)
        found.number = number
        return found

    stopped = of("a", number=0, state=TrialState.PRUNED)  # as far as it came
    other = "it was scored on other recordings than the study's trials"
    assert unlike_the_others([stopped, of("a", "b", number=1), of("b", "a", number=2)]) == {}
    three = [of("a", "b", number=1), of("a", "b", number=2), of("a", "b", "c", number=3)]
    assert unlike_the_others(three) == {3: f"{other} (a, b, c)"}
    three = [of("a", "b", number=1), of("a", number=2), of("a", "b", number=3)]
    assert unlike_the_others(three) == {2: f"{other} (a)"}


# --- names of attributes

PRODUCT = Path(record.__file__).parents[1]


def test_every_attribute_of_the_schema_has_a_name_and_no_other_does() -> None:
    others = {"SEARCH", "CONSTRAINTS"}
    named = {value for name, value in vars(record).items() if name.isupper() and isinstance(value, str)}
    assert named - {getattr(record, name) for name in others} == set(TrialAttributes.model_fields)


def literal_names(code: ast.AST) -> Iterator[ast.Constant]:
    """The strings by which code reads or writes attributes of a trial, or of `attributes` taken from one."""

    def attributes(node: ast.expr) -> bool:
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        return name in ("user_attrs", "attributes")

    for node in ast.walk(code):
        key: ast.expr | None = None
        match node:
            case ast.Subscript(value=owner, slice=inside) if attributes(owner):
                key = inside
            case ast.Call(func=ast.Attribute(value=owner, attr="get" | "pop"), args=[first, *_]) if attributes(owner):
                key = first
            case ast.Call(func=ast.Attribute(attr="set_user_attr" | "set_trial_user_attr"), args=[*_, name, _]):
                key = name
            case ast.Compare(left=left, comparators=[owner]) if attributes(owner):
                key = left
        if isinstance(key, ast.Constant):
            yield key


def test_no_attribute_is_named_by_a_string() -> None:
    found = [
        f"{path.relative_to(PRODUCT)}:{name.lineno}: {name.value!r}"
        for path in sorted(PRODUCT.rglob("*.py"))
        for name in literal_names(ast.parse(path.read_text()))
        if name.value in TrialAttributes.model_fields
    ]
    assert found == []
    example = "trial.user_attrs['der'], attributes.get('a', 0), 'b' in trial.user_attrs, trial.set_user_attr('c', 1)"
    assert sorted(name.value for name in literal_names(ast.parse(example))) == ["a", "b", "c", "der"]
