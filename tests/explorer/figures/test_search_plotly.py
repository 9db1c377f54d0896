"""Hypervolume and importance on hand-made trials: what counts, and what does not."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.figures.search_plotly import ENOUGH, hypervolume_history, importance, reference_point
from objectives.errors import StudyError


def trial(*values: float, execution: str = "native", excess: float = 0.0) -> FrozenTrial:
    return create_trial(values=values, user_attrs={"execution": execution}, constraints={"rtf": excess})


FIRST = trial(20.0, 4.0, 0.1)
SECOND = trial(10.0, 4.0, 0.1)
EMULATED = trial(1.0, 1.0, 0.01, execution="emulated")
INFEASIBLE = trial(30.0, 9.0, 0.01, excess=0.1)
FAILED = create_trial(state=TrialState.FAIL)


def test_the_reference_point_lies_a_tenth_beyond_what_counts() -> None:
    assert reference_point([FIRST, SECOND, EMULATED, INFEASIBLE, FAILED]) == pytest.approx((22.0, 4.4, 0.11))
    assert reference_point([trial(95.0, 4.0, 0.1)]) == pytest.approx((100.0, 4.4, 0.11))  # DER: never beyond silence
    assert reference_point([EMULATED, INFEASIBLE, FAILED]) is None


def test_the_volume_is_of_feasible_native_trials_at_their_own_numbers() -> None:
    figure = hypervolume_history([FIRST, EMULATED, FAILED, INFEASIBLE, SECOND])
    # (22 - 20) (4.4 - 4) (0.11 - 0.1) = 0.008, and (22 - 10) (4.4 - 4) (0.11 - 0.1) = 0.048
    assert list(figure.data[0].x) == [0, 1, 3, 4]
    assert list(figure.data[0].y) == pytest.approx([0.008, 0.008, 0.008, 0.048])
    assert "DER 22 %, 4.4 MiB, RTF 0.11" in figure.layout.title.text


def test_no_volume_without_a_trial_that_counts() -> None:
    with pytest.raises(StudyError, match="no feasible trial with a native kernel"):
        hypervolume_history([EMULATED, INFEASIBLE, FAILED])


def searched(count: int, execution: str = "native") -> list[FrozenTrial]:
    """DER is decided by C alone, size by the precision alone, RTF by R alone."""
    found = []
    for number in range(count):
        chunk, right, low = 0.1 + number / count, 0.1 + number * 7 % count / count, number % 2
        space = {"chunk_length": FloatDistribution(0.1, 2.0), "right_context": FloatDistribution(0.1, 2.0)}
        found.append(
            create_trial(
                values=(chunk, 4.0 - 2 * low, right),
                params={"chunk_length": chunk, "right_context": right, "precision": ("fp32", "fp16")[low]},
                distributions={**space, "precision": CategoricalDistribution(("fp32", "fp16"))},
                user_attrs={"execution": execution},
            )
        )
    return found


def test_importance_finds_what_decides() -> None:
    bars = {bar.name: dict(zip(bar.y, bar.x, strict=True)) for bar in importance(searched(40)).data}
    assert {name: max(shares, key=shares.__getitem__) for name, shares in bars.items()} == {
        "DER (%)": "chunk_length",
        "size (MiB)": "precision",
        "RTF": "right_context",
    }


def test_emulated_trials_say_nothing_of_what_decides_rtf() -> None:
    native = searched(40)
    emulated = [
        create_trial(
            values=(*one.values[:2], 2.0 - one.params["chunk_length"]),
            params=one.params,
            distributions=one.distributions,
            user_attrs={"execution": "emulated"},
        )
        for one in native
    ]
    of_native = {bar.name: list(bar.x) for bar in importance(native).data}
    of_both = {bar.name: list(bar.x) for bar in importance([*native, *emulated]).data}
    assert of_both["RTF"] == of_native["RTF"]


def test_too_few_trials_have_no_importance() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with pytest.raises(StudyError, match=f"fewer than {ENOUGH}"):
        importance([*searched(ENOUGH - 1), *searched(30, "emulated"), FAILED])
    assert len(importance(searched(ENOUGH)).data) == 3
