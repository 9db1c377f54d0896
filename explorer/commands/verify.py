"""`explorer verify`: measure stored trials again."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import optuna
import typer
from rich.console import Console

from explorer.commands.options import FormatOption, TrustOption, print_as, trusted_files
from explorer.commands.study_options import StorageOption, StudyArgument, StudyDeviceOption, open_study, remark_on
from explorer.terminal.progress import progress
from explorer.terminal.screen import say
from explorer.terminal.tables import Table, names, print_table, sentences, words
from objectives.errors import StudyError

if TYPE_CHECKING:  # imports torch
    from explorer.diagnostics.agreement import Figure
    from explorer.diagnostics.verification import Verification, Verified

KEY_SHOWN = 12  # digits of a hash


def verify(
    study: StudyArgument,
    trials: Annotated[
        list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Numbers of trials, as `front` shows them.", min=0)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every measured trial, stopped ones included.")] = False,
    front: Annotated[bool, typer.Option("--front", help="Every trial on the front.")] = False,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make the models again from their sources, and compare them bit for bit.")
    ] = False,
    cost: Annotated[bool, typer.Option("--cost/--no-cost", help="Measure the RTF too.")] = True,
    device: StudyDeviceOption = None,
    trust: TrustOption = None,
    storage_url: StorageOption = None,
    format: FormatOption = "table",
) -> None:
    """Measure stored trials again and say whether they agree. Exits with 1 if one does not.

    Everything is computed afresh, in an empty cache of its own: windows, embedding features, the graphs that run. Only
    the finished models are taken as they are kept; `--remake` makes these again too. The files in the user's cache are
    compared with the result, and any that differ are listed.

    Size, parameters, the model's SHA-256 and seconds of error by kind and recording must be equal to the last digit.
    On another machine or with other packages the pooled DER may be 0.5 points off. RTF is reported, with the ratio to
    the FP32 baseline timed in turns with it, and is never a fault. If the recordings, weights or settings have changed,
    there is nothing to compare and the command fails.

        explorer verify quickstart 0 13

        explorer verify quickstart --front --remake

        explorer verify joint --all --no-cost --format json
    """
    given = trials or []
    if sum((bool(given), everything, front)) != 1:
        raise StudyError("name the trials to verify, or give --all or --front: one of the three")
    loaded = open_study(study, storage_url)
    if not given:
        given = _chosen(loaded, everything)
    # imported late, so that neither `--help` nor a wrong name loads torch
    from explorer.diagnostics.verification import verify as verified

    with progress() as show:
        answer = verified(loaded, given, device, remake, cost, show, trusted_files(trust))
    print_as(format, answer, print_answer, _as_json)
    if not answer.agrees:
        raise typer.Exit(1)


def _chosen(study: optuna.Study, everything: bool) -> list[int]:
    """Return the numbers of the trials of the front, or of all measured ones. Raises StudyError if there is none."""
    from explorer.front.pareto import feasible_front
    from explorer.storage import bulk_sql

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    left_out: dict[int, str] = {}

    def choose(trials: Sequence[optuna.trial.FrozenTrial]) -> set[int]:
        found = trials if everything else feasible_front(study, trials)
        return {trial.number for trial in found if trial.state in states}

    _, chosen = bulk_sql.read_chosen(study, choose, left_out=left_out)
    remark_on(left_out)
    if not chosen:
        raise StudyError(f"the study {study.study_name!r} has no trial that was measured: run it first")
    return sorted(chosen)


def _as_json(answer: "Verification") -> dict[str, Any]:
    trials = [{"agrees": one.agrees, **dataclasses.asdict(one)} for one in answer.trials]
    return {"agrees": answer.agrees, **dataclasses.asdict(answer), "trials": trials}


def print_answer(answer: "Verification", console: Console) -> None:
    """Print one row per trial, the differences below, and what the trials were compared with."""
    table = Table(
        "trial", names("origin"), "DER % then", "now", "MiB", "RTF then", "now", "× base then", "now", words("model"),
        sentences(""), keys=2,
    )  # fmt: skip
    for one in answer.trials:
        table.add(*_cells(one))
    print_table(table, console)
    for one in answer.trials:
        for line in _lines(one):
            say(f"trial {one.trial}: {line}", console)
    for path, why in answer.cache.items():
        say(f"cache: {path} {why}: delete it, it is made again", console)
    data = ", ".join(f"{key} {_short(value)}" for key, value in answer.data.items())
    say(f"compared on: {data}", console)
    wrong = [str(one.trial) for one in answer.trials if not one.agrees]
    compared = sum(len(one.figures) for one in answer.trials)
    verdict = f"{len(answer.trials) - len(wrong)} of {len(answer.trials)} trials agree ({compared} figures compared)"
    verdict += f"; trials that differ: {', '.join(wrong)}" if wrong else ""
    verdict += f"; {len(answer.cache)} files in the cache differ from what was computed afresh" if answer.cache else ""
    say(verdict, console)


def _cells(one: "Verified") -> list[str]:
    figures = {figure.name: figure for figure in one.figures if figure.recording is None}
    der, size, cost = figures.get("DER, %"), figures.get("size, bytes"), one.cost
    cells = [str(one.trial), one.origin]
    cells += ["–", "–"] if der is None else [f"{der.stored:.2f}", f"{der.measured:.2f}"]
    cells.append("–" if size is None else f"{size.measured / 2**20:.2f}")
    if cost is None:
        cells += ["–"] * 4
    else:
        cells += [f"{rtf:.4f}" for rtf in (cost.stored, cost.measured)]
        cells += [f"{ratio:.2f}" for ratio in (cost.stored_ratio, cost.measured_ratio)]
    agrees = "agrees" if one.exact else "agrees, within the tolerance"
    return [*cells, one.model or "–", agrees if one.agrees else "differs"]


def _lines(one: "Verified") -> Iterator[str]:
    """Describe what the table does not show."""
    yield from (f"{_figure(figure)} – differs" for figure in one.faults)
    yield from (_figure(figure) for figure in one.figures if not figure.equal and not figure.fault)
    if one.cost is not None and not one.cost.within:
        spreads = [f"{low:.4f}–{high:.4f}" for low, high in (one.cost.stored_spread, one.cost.measured_spread)]
        yield f"RTF: the spreads {' and '.join(spreads)} do not overlap; this is not a fault"
    if one.stopped:
        yield f"was stopped: {one.stopped}"
    if one.measured_by != one.trial:
        yield f"its point was measured by trial {one.measured_by}"
    yield from map(str, (*one.changes, *one.caveats))


def _figure(figure: "Figure") -> str:
    where = "" if figure.recording is None else f"{figure.recording}: "
    return f"{where}{figure.name} {figure.stored} → {figure.measured}"


def _short(value: str) -> str:
    """Shorten hashes to their beginnings."""
    return " ".join(word[:KEY_SHOWN] if len(word) in (32, 64) else word for word in value.split(" "))
