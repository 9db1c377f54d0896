"""The dashboard without a browser: what it answers, what it refuses, and how a new copy takes the place of the old."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note

from explorer.dashboard import annotations
from explorer.dashboard.server import Dashboard
from explorer.front.pareto import front
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.storage.snapshot import Source
from explorer.storage.study_record import DEFINITION
from objectives.errors import StudyError
from tests.support import dashboard_study
from tests.support.dashboard_study import PORT, ask


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with our study and one of another program."""
    file = tmp_path_factory.mktemp("made") / "studies.db"
    dashboard_study.run(f"sqlite:///{file}")
    other = optuna.create_study(study_name="not ours", storage=f"sqlite:///{file}")
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return file


@pytest.fixture
def url(made: Path, tmp_path: Path) -> str:
    Source(f"sqlite:///{made}").copy_to(tmp_path / "studies.db")
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.fixture
def shown(url: str, folder: Path) -> Iterator[Dashboard]:
    dashboard = Dashboard(Source(url), folder, PORT)
    yield dashboard
    dashboard.close()
    assert list(folder.iterdir()) == []


@pytest.fixture
def study(url: str) -> optuna.Study:
    return load_study(dashboard_study.NAME, url)


def page(shown: Dashboard, study_id: int = 1, after: int | None = 0) -> dict[str, Any]:
    status, headers, body = ask(shown, f"/api/studies/{study_id}", "" if after is None else f"after={after}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    told: dict[str, Any] = json.loads(body)
    return told


# --- what is shown


def test_every_study_is_listed(shown: Dashboard) -> None:
    _, _, body = ask(shown, "/api/studies")
    assert [one["study_name"] for one in json.loads(body)["study_summaries"]] == [dashboard_study.NAME, "not ours"]
    assert shown.studies == 2


def test_every_trial_is_there_with_its_note_and_artifacts(shown: Dashboard, study: optuna.Study) -> None:
    told = page(shown)
    assert [(one["number"], one["state"].upper()) for one in told["trials"]] == [
        (trial.number, trial.state.name) for trial in study.trials
    ]
    for one, trial in zip(told["trials"], study.trials, strict=True):
        assert one["note"]["body"].startswith(f"## Trial {trial.number}: {trial.user_attrs[record.ORIGIN]}")
        names = {artifact["filename"] for artifact in one["artifacts"]}
        expected = {f"trial-{trial.number}-recordings.{kind}" for kind in ("csv", "png")}
        assert names == (expected if trial.user_attrs.get("recordings") else set())


def test_each_kind_of_trial_is_what_it_is(shown: Dashboard, study: optuna.Study) -> None:
    trials = page(shown)["trials"]
    kinds = dashboard_study.kinds(study.trials)
    assert {"feasible", "emulated", "infeasible", "over budget", "fail"} <= kinds.keys()
    for kind in ("infeasible", "over budget"):
        assert any(excess > 0 for excess in trials[kinds[kind]]["constraints"])  # what the dashboard colours by
        assert "**Infeasible**" in trials[kinds[kind]]["note"]["body"]
    assert all(excess <= 0 for excess in trials[kinds["feasible"]]["constraints"])
    assert "**Emulated**" in trials[kinds["emulated"]]["note"]["body"]
    assert "a fault made for a test" in trials[kinds["fail"]]["note"]["body"]


def test_the_best_trials_are_the_feasible_front(shown: Dashboard, study: optuna.Study) -> None:
    assert [one["number"] for one in page(shown)["best_trials"]] == sorted(
        row.trial for row in front(study) if row.standing == "front"
    )


def test_a_browser_that_has_trials_gets_the_others(shown: Dashboard) -> None:
    whole, rest, none = page(shown), page(shown, after=10), page(shown, after=None)
    assert rest["trials"] == whole["trials"][10:]
    assert none["trials"] == whole["trials"]
    assert {**rest, "trials": []} == {**whole, "trials": []}


def test_figures_come_in_order_and_missing_ones_are_explained(shown: Dashboard) -> None:
    told = page(shown)
    assert [figure["id"] for figure in told["plotly_graph_objects"]] == ["front", "der-against-latency", "hypervolume"]
    first = json.loads(told["plotly_graph_objects"][0]["graph_object"])
    assert "The front of DER, size and RTF" in first["layout"]["title"]["text"]
    assert "Not drawn: **importance**" in told["note"]["body"]
    assert "A study to look at: figures by formula" in told["note"]["body"]


def test_what_is_written_reads_back_by_the_dashboards_own_functions(shown: Dashboard, folder: Path) -> None:
    (copy,) = folder.glob("*.db")
    study = load_study(dashboard_study.NAME, f"sqlite:///{copy}")
    assert get_note(study) == page(shown)["note"]["body"]
    assert set(get_plotly_graph_objects(study._storage.get_study_system_attrs(1))) == {
        "front",
        "der-against-latency",
        "hypervolume",
    }
    metas = get_all_artifact_meta(study.trials[0], storage=study._storage)
    assert [(meta.filename, meta.mimetype) for meta in metas] == [
        ("trial-0-recordings.png", "image/png"),
        ("trial-0-recordings.csv", "text/csv"),
    ]


def test_many_trials_are_thinned_out_but_for_those_that_matter(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = next(row for row in front(study) if row.standing == "front")
    fixed = replace(best, trial=100, origin="baseline", standing="dominated")
    others = [replace(best, trial=number, origin=record.SEARCH, standing="dominated") for number in range(101, 105)]
    unmeasured = replace(best, measurement=None)
    monkeypatch.setattr(annotations, "MOST_POINTS", 4)
    assert annotations._drawn([*others, unmeasured, fixed, best]) == [fixed, best, *others[-2:]]
    monkeypatch.setattr(annotations, "MOST_POINTS", 1)
    assert annotations._drawn([*others, unmeasured, fixed, best]) == [fixed, best]


def test_a_study_of_another_program_is_shown_as_it_is(shown: Dashboard) -> None:
    told = page(shown, study_id=2)
    assert [one["note"]["body"] for one in told["trials"]] == ["", ""]
    assert (told["note"]["body"], told["plotly_graph_objects"]) == ("", [])
    assert len(told["best_trials"]) == 1


def test_a_study_of_another_version_says_so(url: str, study: optuna.Study, folder: Path) -> None:
    study.set_user_attr(DEFINITION, '{"planet": "Mars"}')
    shown = Dashboard(Source(url), folder, PORT)
    told = page(shown)
    assert "Made by another version of the explorer" in told["note"]["body"]
    assert "planet" in told["note"]["body"]
    assert len(told["trials"]) == len(study.trials)
    shown.close()


def test_a_study_before_its_first_trial(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    empty = optuna.create_study(study_name="empty", storage=url, directions=["minimize"] * 3)
    empty.set_user_attr(DEFINITION, dashboard_study.small_study().model_dump_json())
    shown = Dashboard(Source(url), folder, PORT)
    told = page(shown)
    assert (told["trials"], told["best_trials"], told["plotly_graph_objects"]) == ([], [], [])
    assert "Not drawn: **front**: no trial is complete yet" in told["note"]["body"]
    shown.close()


@pytest.mark.filterwarnings("ignore::UserWarning:optuna")  # of importance, on so few trials
def test_pages_of_the_browser_are_served(shown: Dashboard) -> None:
    status, headers, body = ask(shown, "/dashboard/studies/1")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/html")
    assert b"<html" in body
    assert ask(shown, "/static/bundle.js")[0] == 200
    assert ask(shown, "/api/studies/1/param_importances")[0] == 200
    assert ask(shown, "/csv/1")[0] == 200
    assert ask(shown, "/api/studies/99")[0] == 404
    status, headers, body = ask(shown, "/api/studies", method="HEAD")
    assert (status, body) == (200, b"")


# --- artifacts


def test_an_artifact_is_made_when_it_is_asked_for(shown: Dashboard, study: optuna.Study) -> None:
    trial = study.trials[0]
    meta = {one["mimetype"]: one["artifact_id"] for one in page(shown)["trials"][0]["artifacts"]}
    status, headers, body = ask(shown, f"/artifacts/1/{trial._trial_id}/{meta['text/csv']}")
    assert (status, headers["Content-Type"]) == (200, "text/csv")
    sheet = {line["recording"]: line for line in csv.DictReader(io.StringIO(body.decode()))}
    assert {uri: float(line["der"]) for uri, line in sheet.items()} == {
        uri: told["der"] for uri, told in trial.user_attrs["recordings"].items()
    }
    status, headers, body = ask(shown, f"/artifacts/1/{trial._trial_id}/{meta['image/png']}")
    assert (status, headers["Content-Type"], body[:8]) == (200, "image/png", b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/artifacts/1/1/1-1"])
def test_a_page_may_reach_this_server_and_nothing_else(shown: Dashboard, path: str) -> None:
    _, headers, _ = ask(shown, path)
    policy = {name: set(sources) for name, *sources in map(str.split, headers["Content-Security-Policy"].split(";"))}
    here = {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
    assert set.union(*policy.values()) == here
    assert policy["default-src"] == policy["form-action"] == {"'self'"}
    assert policy["script-src"] == {"'self'", "'unsafe-eval'"}  # none that a note of a study brings
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == {"'none'"}
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_artifacts_are_not_for_pages_from_elsewhere(shown: Dashboard) -> None:
    _, headers, _ = ask(shown, "/artifacts/1/1/1-1")
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    "artifact_id", ["1-2", "f" * 40 + "-0", "63-0", "123e4567-e89b-12d3-a456-426614174000", "-0", "-"]
)
def test_an_artifact_that_is_not_ours_is_not_found(shown: Dashboard, artifact_id: str) -> None:
    status, _, body = ask(shown, f"/artifacts/1/1/{artifact_id}")
    assert (status, "another store" in json.loads(body)["reason"]) == (404, True)


def test_the_store_takes_and_loses_nothing(shown: Dashboard) -> None:
    store = shown._current._artifacts
    with pytest.raises(NotImplementedError):
        store.write("1-0", io.BytesIO(b""))
    with pytest.raises(NotImplementedError):
        store.remove("1-0")


# --- what is refused


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/studies"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("DELETE", "/api/artifacts/1/1/1-0"),
        ("POST", "/incompatible-rdb-schema"),
        ("OPTIONS", "/api/studies"),
        ("TRACE", "/"),
    ],
)
def test_nothing_can_be_changed(shown: Dashboard, method: str, path: str) -> None:
    before = page(shown)
    status, _, body = ask(shown, path, method=method, body='{"study_name": "mine", "directions": ["minimize"]}')
    assert (status, "nothing can be changed" in json.loads(body)["reason"]) == (403, True)
    assert page(shown) == before


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}"])
def test_this_machine_is_answered(shown: Dashboard, host: str) -> None:
    assert ask(shown, "/api/studies", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", [f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:81", f"127.0.0.1.evil.example:{PORT}", ""]
)
def test_a_page_that_says_another_name_is_refused(shown: Dashboard, host: str) -> None:
    status, _, body = ask(shown, "/api/studies", host=host)
    assert status == 403
    assert dashboard_study.NAME.encode() not in body


# --- a study that goes on


def test_a_new_trial_is_shown_after_a_refresh(shown: Dashboard, study: optuna.Study, folder: Path) -> None:
    before = page(shown)
    assert not shown.refresh()
    study.tell(study.ask(), state=TrialState.FAIL)
    assert page(shown) == before
    assert shown.refresh()
    after = page(shown)
    assert len(after["trials"]) == len(before["trials"]) + 1
    assert after["trials"][-1]["note"]["body"].startswith("## Trial")
    assert [file.name for file in folder.glob("*.db")] == ["2.db"]  # the old copy is gone


def test_no_request_fails_while_copies_change(shown: Dashboard, study: optuna.Study, folder: Path) -> None:
    stop, statuses = threading.Event(), []

    def browse() -> None:
        while not stop.is_set():
            statuses.extend(ask(shown, path)[0] for path in ("/api/studies", "/api/studies/1", "/artifacts/1/1/1-1"))

    browsers = [threading.Thread(target=browse) for _ in range(3)]
    for browser in browsers:
        browser.start()
    for _ in range(3):
        study.tell(study.ask(), state=TrialState.FAIL)
        assert shown.refresh()
    stop.set()
    for browser in browsers:
        browser.join()
    assert set(statuses) == {200}
    assert [file.name for file in folder.glob("*.db")] == ["4.db"]


def test_the_last_copy_stays_where_the_original_cannot_be_read(shown: Dashboard, url: str) -> None:
    before = page(shown)
    Path(url.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyError, match="cannot be read"):
        shown.refresh()
    assert page(shown) == before
