"""Show the progress of a running study: a live display on a terminal, one plain line per trial elsewhere."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from explorer.search.fixed_trials import Choice
from explorer.search.observer import Observer
from explorer.search.status import Best, best_values
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut, in_words
from explorer.terminal.screen import WHOLE, WRAPPED, say
from objectives.operating_point import OperatingPoint, describe


def clock(seconds: float) -> str:
    """Return a duration as `2:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _seconds(trial: FrozenTrial) -> float:
    """Return how long a trial took: by its driver's monotonic clock if recorded, since the time of day may be set."""
    if record.SECONDS in trial.user_attrs:
        return float(trial.user_attrs[record.SECONDS])
    return max(0.0, trial.duration.total_seconds()) if trial.duration else 0.0


class Display(Observer):
    """Shows the progress of a run; a context manager. timeout: seconds that the run may take; bounds the time left."""

    def __init__(self, console: Console, timeout: float | None = None) -> None:
        self._console = console
        self._timeout = timeout
        self._started = time.monotonic()
        self._trials: dict[int, FrozenTrial] = {}
        self._seconds: list[float] = []
        self._total = 0
        self._running: dict[int, str] = {}  # number of a running trial → its description
        self._tasks: dict[int | None, TaskID] = {}  # number of a trial, or None for anything else → its bar
        self._study_bar = Progress(
            TextColumn("[bold]study"), BarColumn(), MofNCompleteColumn(table_column=WHOLE),
            TextColumn("{task.fields[times]}", table_column=WRAPPED), console=console,
        )  # fmt: skip
        self._study_task = self._study_bar.add_task("study", total=None, times="")
        self._trial_bar = Progress(
            TextColumn("[bold]trial"), BarColumn(bar_width=20), TaskProgressColumn(),
            TextColumn("{task.description}", markup=False, table_column=WRAPPED), console=console,
        )  # fmt: skip
        self._show(None, "getting ready", 0.0)
        self._best = Text("")
        self._leaders: list[FrozenTrial] = []  # the best trial for each objective
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def begin(self, trials: Sequence[FrozenTrial], total: int) -> None:
        self._total = total
        self._trials = {trial.number: trial for trial in trials if trial.state.is_finished()}
        self._best_with(self._trials.values())
        self._study_bar.update(self._study_task, total=total, completed=len(self._trials))
        if not self._console.is_terminal:
            say(f"{len(self._trials)} of {total} trials done before this run", self._console)

    def versions_changed(self, changes: Sequence[str]) -> None:
        say(
            f"packages have changed since the study's last trial ({'; '.join(changes)}): the new trials say so, and so "
            "do front, status and report. To keep the study of one kind, go back to these versions",
            self._console,
            "yellow",
        )

    def left_out(self, trials: LeftOut) -> None:
        self._console.print(in_words(trials), style="yellow", markup=False, highlight=False, soft_wrap=True)

    def prepared(self, fraction: float) -> None:
        """Show which fraction of the recordings has been read."""
        self._show(None, "reading the recordings", fraction)

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        self._hide(None)
        self._running[number] = f"{number} {origin}  {describe(point)}"
        self._show(number, self._running[number], 0.0)

    def trial_progress(self, number: int, stage: str, fraction: float) -> None:
        if number in self._running:  # progress of a worker may arrive after its trial has ended
            self._show(number, f"{self._running[number]}  {stage}", fraction)

    def choice_started(self, on: str) -> None:
        self._show(None, f"Table 2's variant by DER on {on}", 0.0)

    def choice_progress(self, stage: str, fraction: float) -> None:
        self._show(None, f"Table 2's variant  {stage}", fraction)

    def choice_finished(self, choice: Choice) -> None:
        self._hide(None)
        say(f"Table 2's variant: {choice}", self._console)

    def trial_finished(self, trial: FrozenTrial) -> None:
        self._hide(trial.number)
        what = self._running.pop(trial.number, f"{trial.number} {record.origin_of(trial)}")
        self._trials[trial.number] = trial
        self._seconds.append(_seconds(trial))
        self._study_bar.update(self._study_task, completed=len(self._trials))
        bests = self._best_with([trial])
        self._best = Text("best   " + "   ".join(f"{b.metric} {b.value:.4g} #{b.trial}" for b in bests))
        if self._console.is_terminal and trial.state is not TrialState.FAIL:
            return
        say(f"[{len(self._trials)}/{self._total}] {self._sentence(trial, what)}", self._console)

    def trial_finished_elsewhere(self, trial: FrozenTrial) -> None:
        self._trials[trial.number] = trial
        self._study_bar.update(self._study_task, completed=len(self._trials))
        self._best_with([trial])
        line = (
            f"[{len(self._trials)}/{self._total}] trial {trial.number}: {trial.state.name.lower()}, by another driver"
        )
        say(line, self._console)

    @property
    def best(self) -> str:
        """The line with the best value of each objective; empty before a trial has finished in this run."""
        return self._best.plain

    def _best_with(self, trials: Iterable[FrozenTrial]) -> tuple[Best, ...]:
        """Return the best of each objective, given these new trials and the best so far."""
        candidates = {trial.number: trial for trial in (*self._leaders, *trials)}
        bests = best_values(list(candidates.values()))
        self._leaders = [candidates[best.trial] for best in bests]
        return bests

    def _sentence(self, trial: FrozenTrial, what: str) -> str:
        took = f"{self._seconds[-1]:.1f} s"
        if trial.state is TrialState.FAIL:
            return f"trial {what}: failed after {took}: {trial.user_attrs.get(record.ERROR)}"
        twin = trial.user_attrs.get(record.REUSED_FROM)
        how = took if twin is None else f"measured by trial {twin}"
        if trial.state is TrialState.PRUNED:
            return f"trial {what}: stopped, {record.why_stopped(trial)}  ({how})"
        der, size, rtf = trial.values
        return f"trial {what}: DER {der:.2f} %  {size:.2f} MiB  RTF {rtf:.4f}  ({how})"

    def _show(self, key: int | None, description: str, fraction: float) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._trial_bar.add_task(description, total=1.0)
        self._trial_bar.update(self._tasks[key], completed=fraction, description=description)

    def _hide(self, key: int | None) -> None:
        if key in self._tasks:
            self._trial_bar.remove_task(self._tasks.pop(key))

    def _render(self) -> Group:
        self._study_bar.update(self._study_task, times=self._times())
        return Group(self._study_bar, self._trial_bar, self._best)

    def _times(self) -> str:
        elapsed = time.monotonic() - self._started
        if not self._seconds:
            return f"{clock(elapsed)} elapsed"
        left = (self._total - len(self._trials)) * sum(self._seconds) / len(self._seconds)
        if self._timeout is not None:
            left = min(left, max(0.0, self._timeout - elapsed))
        return f"{clock(elapsed)} elapsed, about {clock(left)} left"
