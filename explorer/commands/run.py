"""`explorer run`: create a study or resume it, and print its front."""

import functools
from enum import StrEnum
from typing import Annotated, Any

import optuna
import typer

from explorer.commands.front import print_tables
from explorer.commands.options import LATENCY, DeviceOption, TableOrJson, TrustOption, trusted_files
from explorer.commands.study_options import StorageOption
from explorer.front.pareto import whole_front
from explorer.front.rows import flat
from explorer.search.display import Display
from explorer.search.driver import Outcome, run_study
from explorer.search.fixed_trials import choice_of
from explorer.storage import connection, urls
from explorer.storage.errors import refusal
from explorer.terminal.corpus_remarks import print_remarks
from explorer.terminal.screen import say, screen
from explorer.terminal.signals import INTERRUPTED
from explorer.terminal.streams import echo_json
from explorer.workers.in_process import InProcess
from explorer.workers.protocol import Workers
from objectives.errors import StudyError
from objectives.evaluation.settings import EvaluatorSettings
from studies import definition as definitions
from studies.definition import SAMPLERS, Limits, StudyDefinition, packaged


class TrackingOption(StrEnum):
    """When speakers get their names while streaming."""

    chunkwise = "chunk-wise"
    online = "online"
    both = "both"


JOBS_HELP = (
    "How many trials to run at once, each in a process of its own on this machine. A single trial already runs its "
    "recordings on all cores: more help if cores outnumber recordings, or if models are made."
)


def run(
    study: Annotated[str, typer.Argument(help=f"One of {', '.join(packaged())}, or the path of a `.toml` file.")],
    trials: Annotated[
        int | None,
        typer.Option(help="Search trials that the study should have in all; fixed points are extra.", min=0),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Start no trial after this many seconds. Run again to continue.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Corpus name, a folder of audio + RTTM, or a pyannote.database protocol.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the corpus to score.")] = None,
    storage_url: StorageOption = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the sampler, of recovery and of drawn splits.", min=0)
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=f"One of {', '.join(SAMPLERS)}.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Budget as `key=value`, repeatable: `latency` (s: {LATENCY}), `der` (%), `size` (MiB), `rtf`. "
            "Trials over a budget are stopped and stay in the study, marked infeasible.",
        ),
    ] = None,
    tracking: Annotated[
        TrackingOption | None,
        typer.Option(
            help="When speakers get their names: `chunk-wise`, when the recording ends; `online`, when a block is "
            "emitted, for good; `both`, as one more dimension. Give the study a `--name` of its own."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help=JOBS_HELP, min=1)] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Evaluate on the workers of this Dask scheduler instead, such as `tcp://10.0.0.5:8786`."),
    ] = None,
    racing: Annotated[
        bool | None,
        typer.Option(help="Stop search trials that can no longer reach the front. Default: the study's, which is yes."),
    ] = None,
    stop_after_failures: Annotated[
        int | None,
        typer.Option(help="Stop the run after this many failed trials in a row; 0 for never. Default: 5.", min=0),
    ] = None,
    device: DeviceOption = "cpu",
    trust: TrustOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the study in the storage. Default: that of STUDY.")] = None,
    format: Annotated[TableOrJson, typer.Option(help="How the front is printed at the end.")] = "table",
) -> None:
    """Run a study: measure the baseline and the paper's fixed points, then let the sampler search.

    Pruned and low-bit models are made when a trial first needs them, from the *train* and *calib* splits, and kept for
    every later study.

    Every trial is stored as soon as it is done. Stop with Ctrl-C, or kill the process: the same command resumes, loses
    only the trial that was running, and says so if nothing is left to do. If the settings of a study have changed, it
    is refused, with the difference shown; `--trials`, `--timeout`, `--racing` and `--stop-after-failures` may change
    freely. A second run of the same study is refused while the first one is alive; in PostgreSQL it joins in.

    A search trial is stopped as soon as it breaks a budget or is beaten: by a trial that is no larger, no slower and
    makes fewer errors, whatever the remaining recordings bring (see the README). Fixed points are measured to the end.

    Options override the study's file, and the file overrides defaults.

        explorer run quickstart

        explorer run joint --trials 200 --timeout 3600

        explorer run joint --limit latency=1.0 --limit rtf=0.1 --name low-latency

        explorer run joint --jobs 4

        explorer run joint --tracking both --name joint-online

        explorer run pruning --name pruning-of-my-calls --corpus ./recordings

        explorer run my-study.toml --corpus ./recordings --storage sqlite:///mine.db
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found, definition = definitions.find(study)
    definition = definition.vary(
        "the command line",
        trials=trials, timeout=timeout, corpus=corpus, split=split, seed=seed, sampler=sampler,
        stop_after_failures=stop_after_failures,
        limits=_limits(limit or []), space=_tracking(tracking), racing=None if racing is None else {"enabled": racing},
    )  # fmt: skip
    if jobs > 1 and scheduler is not None:
        raise StudyError(f"--jobs {jobs} and --scheduler {scheduler}: a cluster has its own workers, so give only one")
    trusted = trusted_files(trust)
    name = definitions.checked_name(found if name is None else name)
    storage_url = urls.given(storage_url)
    errors = screen(stderr=True)
    connection.check(storage_url)  # before spending minutes on reading the recordings
    try:
        with (
            Display(errors, definition.timeout) as display,
            _workers(definition.evaluator_settings(device, trusted), jobs, scheduler, display) as workers,
        ):
            print_remarks(workers.remarks)
            workers.prepare(display.prepared)
            outcome = run_study(name, definition, workers, storage_url, display)
    except KeyboardInterrupt:
        say("interrupted: every finished trial is kept; run the same command again to resume", errors)
        raise typer.Exit(INTERRUPTED) from None
    except optuna.exceptions.StorageInternalError as error:
        raise refusal(connection.shown(storage_url), error, running=True) from error
    _print(name, outcome, definition, storage_url, format)
    if outcome.trials and outcome.failed == outcome.trials:
        raise typer.Exit(1)


def _workers(settings: EvaluatorSettings, jobs: int, scheduler: str | None, display: Display) -> Workers:
    # imported late, so that torch and Dask are loaded only if they are used
    if scheduler is None and jobs == 1:
        from objectives.evaluation.evaluator import build_evaluator

        return InProcess(build_evaluator(settings), display.trial_progress)
    from explorer.workers.dask_cluster import cluster_workers, local_workers
    from explorer.workers.worker_process import build_on

    build = functools.partial(build_on, settings)
    if scheduler is not None:
        return cluster_workers(scheduler, build, display.trial_progress)
    return local_workers(jobs, build, display.trial_progress)


def _tracking(given: TrackingOption | None) -> dict[str, list[str]] | None:
    if given is None:
        return None
    return {"tracking": ["chunk-wise", "online"] if given is TrackingOption.both else [given.value]}


def _limits(given: list[str]) -> dict[str, float] | None:
    limits: dict[str, float] = {}
    known = ", ".join(Limits.model_fields)
    for text in given:
        key, _, value = text.partition("=")
        try:
            limits[key] = float(value)
        except ValueError as error:
            raise StudyError(f"--limit {text!r} is not key=value with a number: key is one of {known}") from error
        if key not in Limits.model_fields:
            raise StudyError(f"--limit {text!r}: {key!r} is not a budget: use one of {known}")
    return limits or None


def _print(name: str, outcome: Outcome, definition: StudyDefinition, storage_url: str, format: TableOrJson) -> None:
    found = whole_front(outcome.study)
    if format == "json":
        result: dict[str, Any] = {
            "study": name,
            "storage": connection.shown(storage_url),
            "stopped": outcome.stopped,
            "trials": outcome.trials,
            "failed": outcome.failed,
            "front": [flat(row) for row in found.rows],
        }
        echo_json(result)
        return
    console = screen()
    print_tables(found.rows, console, found.comparisons)
    say(_ending(name, outcome, definition, storage_url), console)


def _ending(name: str, outcome: Outcome, definition: StudyDefinition, storage_url: str) -> str:
    where = f"Study {name!r} in {connection.shown(storage_url)}"
    if outcome.failed:
        where += f"; {outcome.failed} of {outcome.trials} trials failed (see `explorer status {name}`)"
    choice = choice_of(outcome.study, definition)
    if choice is not None and choice.error:
        where += f"; Table 2 is not measured, its variant is {choice}"
    if outcome.stopped == "timeout":
        return f"{where}. Stopped after {definition.timeout:g} s: run the same command again to go on."
    if not outcome.trials:
        return f"{where}. Nothing left to do: give a larger --trials (now {definition.trials}) to search on."
    return f"{where}. Done: run again with a larger --trials to search on."
