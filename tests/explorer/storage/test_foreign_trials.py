"""Trials that stock Optuna added to a study, or that somebody changed by hand: left out of everything, and named."""

import math
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.bundle.export import export_trial
from explorer.dashboard.annotations import annotate
from explorer.dashboard.notes import Look, study_note
from explorer.diagnostics.measured_trials import measured_trials
from explorer.front.pareto import whole_front
from explorer.recommend.budgets import Budgets
from explorer.recommend.recommendation import recommend
from explorer.report.report import compose, render
from explorer.search.driver import _create_or_resume
from explorer.search.status import status
from explorer.storage import bulk_sql, foreign_trials
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from explorer.storage.snapshot import SnapshotStorage, Source
from explorer.storage.study_record import stored_definition
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from studies.search_space import dimensions
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study

SPACE = small_study().space
KNOWN = dimensions(SPACE)
POINT: dict[str, Any] = {
    "chunk_length": 1.3,
    "look_ahead": "none",
    "pruning_structure": "none",
    "precision": "fp32",
}
BEST = (1.0, 0.1, 0.001)  # what would dominate everything


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Three fixed points and three search trials."""
    where = f"sqlite:///{tmp_path_factory.mktemp('made')}/studies.db"
    run_study("study", small_study(trials=3), AnalyticEvaluator(), where)
    return Source(where)


@pytest.fixture
def study(made: Source, url: str, tmp_path: Path) -> optuna.Study:
    """A copy of one's own."""
    made.copy_to(tmp_path / "studies.db")
    return load_study("study", url)


def added(
    state: TrialState = TrialState.COMPLETE,
    values: tuple[float, ...] = BEST,
    params: dict[str, Any] = POINT,
    distributions: dict[str, BaseDistribution] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A trial as `optuna.create_trial` makes it."""
    return create_trial(
        state=state,
        values=list(values) if state is TrialState.COMPLETE else None,
        params=params,
        distributions=distributions or {name: KNOWN[name] for name in params},
        user_attrs=dict(attributes or {}),
    )


def copied(study: optuna.Study, **changes: Any) -> FrozenTrial:
    """Trial 1 with all that it carries, best of all, with some attributes changed."""
    source = study.get_trials()[1]
    return added(
        params=source.params,
        distributions=source.distributions,
        attributes=source.user_attrs | {record.ORIGIN: record.SEARCH} | changes,
    )


def execute(url: str, statement: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(statement)


def rows_of(url: str) -> list[tuple[object, ...]]:
    """Every row of every trial."""
    tables = ("trials", "trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return [(table, *row) for table in tables for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]


def look(url: str) -> tuple[Any, ...]:
    """What is said of a study, but for what is left out of it, and the numbers of that."""
    study = load_study("study", url)
    found, told, advice = whole_front(study), status(study), recommend(study, Budgets(), test=False)
    left_out = {**found.left_out, **told.left_out, **advice.left_out}
    rows = (found.rows, found.comparisons, told.best, told.remaining, told.failures)
    return (*rows, [one.row for one in advice.recommendations], sorted(left_out))


# --- one that fits nowhere

REFUSED: dict[str, tuple[Callable[[optuna.Study], FrozenTrial], str]] = {
    "no attributes": (lambda study: added(), "no attribute 'der' and 11 more"),
    "no parameters": (lambda study: added(params={}), "no attribute 'der'"),
    "infinite": (lambda study: added(values=(1.0, 0.1, math.inf)), "no attribute 'der'"),
    "negative": (lambda study: added(values=(-1.0, 0.1, 0.1), attributes=study.trials[1].user_attrs), "DER of -1 %"),
    "no size": (lambda study: added(values=(1.0, 0.0, 0.1), attributes=study.trials[1].user_attrs), "size of 0 MiB"),
    "stopped": (lambda study: added(TrialState.PRUNED), "no attribute 'stop'"),
    "runs, with a range of its own": (
        lambda study: added(
            TrialState.RUNNING,
            params={"chunk_length": 9.0},
            distributions={"chunk_length": FloatDistribution(1, 20, log=True)},
        ),
        "chunk_length = 9.0 is outside space.chunk_length",
    ),
    "an unknown parameter": (
        lambda study: added(
            params={**study.trials[1].params, "beam": 4.0},
            distributions={**study.trials[1].distributions, "beam": FloatDistribution(0, 9)},
            attributes=record.measured_attributes(study.trials[1]),
        ),
        "'beam' is not a parameter of this study",
    ),
    "another range": (
        lambda study: added(
            params={**study.trials[1].params, "chunk_length": 1.0},
            distributions={**study.trials[1].distributions, "chunk_length": FloatDistribution(0.5, 2.0, log=True)},
            attributes=record.measured_attributes(study.trials[1]),
        ),
        "its chunk_length comes from FloatDistribution",
    ),
    "not all parameters": (
        lambda study: added(
            params={"precision": "fp32"}, distributions={"precision": KNOWN["precision"]},
            attributes=record.measured_attributes(study.trials[1]),
        ),
        "not all parameters of an operating point",
    ),
    "of other recordings": (
        lambda study: copied(study, recordings={"z": study.trials[1].user_attrs["recordings"]["a"]}),
        "scored on other recordings",
    ),
    "of other data": (
        lambda study: copied(study, data={"corpus": "theirs 0a1b"}),
        "measured with another corpus ('theirs 0a1b')",
    ),
    "another's origin": (lambda study: copied(study, origin="baseline"), "'origin' says 'baseline'"),
    "an attribute of another type": (lambda study: copied(study, threads="one"), "'threads' cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "needle"), REFUSED.values(), ids=list(REFUSED))
def test_a_foreign_trial_is_left_out_and_named(
    study: optuna.Study, url: str, make: Callable[[optuna.Study], FrozenTrial], needle: str, tmp_path: Path
) -> None:
    *before, left_out = look(url)
    assert left_out == []
    study.add_trial(make(study))
    rows = rows_of(url)
    *after, _ = look(url)
    assert after == before
    remarks: dict[int, str] = {}
    bulk_sql.read(load_study("study", url), left_out=remarks)
    assert list(remarks) == [6]
    assert needle in remarks[6]
    assert "trial 6: " in foreign_trials.in_words(remarks)
    assert rows_of(url) == rows, "what is read changes nothing"
    for ask in (
        lambda: bulk_sql.read_own(study, 6),
        lambda: measured_trials(study, [6]),  # verify, explain, stress
        lambda: export_trial(study, 6, tmp_path / "out"),
    ):
        with pytest.raises(StudyError, match=r"trial 6 of the study 'study' is left out: .*choose another one"):
            ask()


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "gp"])
def test_a_run_goes_on_as_if_it_were_not_there(url: str, tmp_path: Path, sampler: str) -> None:
    """The same points in the same order, which a sampler that learnt from it would not propose."""

    def run(where: str, foreign_too: bool) -> list[tuple[object, ...]]:
        definition = small_study(trials=14, sampler=sampler, racing={"enabled": False})
        run_study("study", definition, AnalyticEvaluator(), where)
        study = load_study("study", where)
        if foreign_too:
            study.add_trial(added())
            study.add_trial(added(params={"x": 0.0}, distributions={"x": FloatDistribution(0, 1)}))
            study.add_trial(added(TrialState.PRUNED, params={}))
        outcome = run_study("study", definition.vary("a test", trials=18), AnalyticEvaluator(), where)
        own = list(bulk_sql.read(load_study("study", where)).values())
        assert outcome.failed == 0
        return [(trial.params, trial.values, trial.state, record.origin_of(trial)) for trial in own]

    assert run(url, foreign_too=True) == run(f"sqlite:///{tmp_path}/alone.db", foreign_too=False)


def test_a_distribution_that_came_first_forbids_nothing(url: str) -> None:
    """Optuna holds every trial's distribution against that of the first one with the name."""
    definition = small_study()
    study = _create_or_resume("study", definition, AnalyticEvaluator().identity, open_storage(url))
    study = load_study("study", url)
    odd = {"precision": CategoricalDistribution(("fp32", "bf16")), "chunk_length": FloatDistribution(0.0, 10.0)}
    study.add_trial(added(params={"precision": "bf16", "chunk_length": 0.0}, distributions=odd))
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed) == (4, 0)
    assert [record.origin_of(trial) for trial in outcome.study.trials] == [*ORIGINS, "search"]


def test_no_budget_is_spent_on_what_others_added(study: optuna.Study, url: str) -> None:
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        study.add_trial(added(state))
    assert status(study).remaining == 0
    outcome = run_study("study", small_study(trials=5), AnalyticEvaluator(), url)
    assert (outcome.trials, status(outcome.study).remaining) == (2, 0)


def test_a_fixed_point_that_was_changed_is_measured_again(study: optuna.Study, url: str) -> None:
    execute(url, "UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 1 AND key = 'der'")
    study = load_study("study", url)
    baseline = next(row for row in whole_front(study).rows if row.origin == "baseline")
    assert (baseline.standing, baseline.trial) == ("waiting", None)
    assert "'der' cannot be read" in status(study).left_out.get(0, whole_front(study).left_out[0])
    evaluator = AnalyticEvaluator()
    assert run_study("study", small_study(trials=3), evaluator, url).trials == 1
    assert evaluator.calls == [OperatingPoint()]
    assert next(row.trial for row in whole_front(load_study("study", url)).rows if row.origin == "baseline") == 6


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_user_attributes SET value_json = '5' WHERE trial_id = 2 AND key = 'recordings'",
        "UPDATE trial_user_attributes SET value_json = '[1]' WHERE trial_id = 2 AND key = 'origin'",
        "UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 2 AND key = 'machine'",
        "UPDATE trial_params SET distribution_json = '{}' WHERE trial_id = 2 AND param_name = 'precision'",
        "UPDATE trial_params SET param_value = 99 WHERE trial_id = 2 AND param_name = 'precision'",
        "DELETE FROM trial_user_attributes WHERE trial_id = 2 AND key = 'rtf_ratio'",
        "DELETE FROM trial_values WHERE trial_id = 2 AND objective = 2",
        "UPDATE trial_values SET value = NULL WHERE trial_id = 2 AND objective = 1",
        "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (2, 3, 1.0, 'FINITE')",
    ],
)
def test_what_was_changed_by_hand_stops_nothing(study: optuna.Study, url: str, statement: str) -> None:
    execute(url, statement)
    *_, left_out = look(url)
    assert left_out in ([1], [])  # parameters of what is shown nowhere are not read
    remarks: dict[int, str] = {}
    bulk_sql.read(load_study("study", url), left_out=remarks)
    assert list(remarks) == [1]
    assert run_study("study", small_study(trials=4), AnalyticEvaluator(), url).failed == 0


def test_the_report_and_the_dashboard_say_what_they_leave_out(study: optuna.Study, url: str, tmp_path: Path) -> None:
    study.add_trial(added())
    said: list[str] = []
    report = compose(study, said.append)
    assert "trial 6 is left out: it has no attribute" in render(report)
    assert any(step.startswith("Left out, since another program added it") for step in said)
    Source(url).copy_to(tmp_path / "copy.db")
    copy = SnapshotStorage(tmp_path / "copy.db", url)
    (notes,) = annotate(copy, url, datetime.now()).values()
    assert len(notes.notes) == 6
    told = "".join(str(value) for key, value in copy.get_study_system_attrs(1).items() if "note" in key)
    assert "Left out, since another program added it or changed it: trial 6" in told
    assert "Left out" not in study_note("s", stored_definition(study), [], [], Look("now", url, {}))


def test_a_study_of_others_in_the_same_database_is_nobodys_business(study: optuna.Study, url: str) -> None:
    theirs = optuna.create_study(study_name="theirs", storage=url, directions=["maximize"])
    theirs.add_trial(create_trial(value=1.0))
    *_, left_out = look(url)
    assert left_out == []
    with pytest.raises(StudyError, match="'theirs' was not made by `explorer run`"):
        whole_front(load_study("theirs", url))
    with pytest.raises(StudyError, match="'theirs' is to maximize, and `explorer run` minimizes"):
        run_study("theirs", small_study(), AnalyticEvaluator(), url)


def test_a_study_with_other_directions_is_refused(study: optuna.Study, url: str) -> None:
    execute(url, "UPDATE study_directions SET direction = 'MAXIMIZE' WHERE objective = 1")
    changed = load_study("study", url)
    for command in (whole_front, status, lambda study: recommend(study, Budgets(), test=False), compose):
        with pytest.raises(StudyError, match="is to minimize, maximize, minimize"):
            command(changed)
    with pytest.raises(StudyError, match="is to minimize, maximize, minimize"):
        run_study("study", small_study(), AnalyticEvaluator(), url)


# --- any one at all


def any_trial(study: optuna.Study, draw: random.Random) -> FrozenTrial:
    """A trial that another program might add."""
    state = draw.choice([TrialState.COMPLETE] * 4 + [TrialState.PRUNED, TrialState.FAIL])
    source = study.get_trials()[draw.randrange(6)]
    distributions: dict[str, BaseDistribution] = {}
    params: dict[str, Any] = {}
    for name in draw.sample([*KNOWN, "x", "y"], draw.randrange(len(KNOWN))):
        if isinstance(known := KNOWN.get(name), CategoricalDistribution):
            distributions[name] = known  # another one is refused by Optuna, now that there are ours
            params[name] = draw.choice(known.choices)
        else:
            log = isinstance(known, FloatDistribution) and known.log
            distributions[name] = FloatDistribution(1e-9, draw.choice([0.5, 1e6]), log=log)
            params[name] = draw.uniform(1e-9, 0.5)
    if draw.random() < 0.4:
        params, distributions = dict(source.params), dict(source.distributions)
    attributes = {key: value for key, value in source.user_attrs.items() if draw.random() < 0.97}
    if draw.random() < 0.5:
        attributes = draw.choice([{}, {"note": "mine"}, {record.ORIGIN: "baseline"}])
    for key in draw.sample(sorted(attributes), min(len(attributes), draw.randrange(2))):
        attributes[key] = draw.choice([None, -1, "x", [], {}, [1, 2], True, 1e308])
    extreme = [0.0, -1.0, 1e-300, 1e308, math.inf, -math.inf]
    values = tuple(draw.choice([*extreme, draw.uniform(0, 50)]) for _ in range(3))
    if not {"der", "recordings"} <= attributes.keys() or record.REUSED_FROM in attributes:
        return added(state, values, params, distributions, attributes)
    # with all that is measured it would be one of ours, and may stand where it stands: make that impossible
    return added(state, values, params, distributions, attributes | {record.DATA: {"corpus": "theirs"}})


@pytest.mark.parametrize("seed", range(12))
def test_no_foreign_trial_brings_anything_down_or_changes_our_rows(study: optuna.Study, url: str, seed: int) -> None:
    *before, _ = look(url)
    draw = random.Random(seed)
    for _ in range(6):
        study.add_trial(any_trial(study, draw))
    ours = [row for row in rows_of(url) if row[0] != "trials" or row[2] <= 6]
    rows, comparisons, best, remaining, _, recommended, _ = look(url)
    assert (rows, comparisons, best, remaining, recommended) == (before[0], before[1], before[2], before[3], before[5])
    outcome = run_study("study", small_study(trials=5), AnalyticEvaluator(), url) if seed % 4 == 0 else None
    assert outcome is None or (outcome.failed == 0 and outcome.trials == 2)
    assert set(ours) <= set(rows_of(url))
