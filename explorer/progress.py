"""What a running study shows: a live display on a terminal, one plain line a trial elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from explorer import trial_record as record
from explorer.driver import Observer
from explorer.selection import Choice
from explorer.status import best_values
from objectives.operating_point import UNPRUNED, OperatingPoint


def describe(point: OperatingPoint) -> str:
    """`C 1 s  R 0.5 s  Hidden-40  fp32`, for people."""
    streamed = point.mode == "chunk-wise"
    parts = [f"C {point.chunk_length:.3g} s  R {point.right_context:.3g} s" if streamed else point.mode]
    if point.pruning != UNPRUNED:
        parts.append(str(point.pruning))
    return "  ".join([*parts, point.precision])


def clock(seconds: float) -> str:
    """`2:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Display(Observer):
    """Shows a run while it lasts; a context manager. timeout: seconds that the run may take, which bounds time left."""

    def __init__(self, console: Console, timeout: float | None = None) -> None:
        self._console = console
        self._timeout = timeout
        self._started = time.monotonic()
        self._trials: dict[int, FrozenTrial] = {}
        self._seconds: list[float] = []
        self._total = 0
        self._running = ""
        self._study_bar = Progress(
            TextColumn("[bold]study"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[times]}"),
            console=console,
        )  # fmt: skip
        self._study_task = self._study_bar.add_task("study", total=None, times="")
        self._trial_bar = Progress(
            TextColumn("[bold]trial"), BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}"),
            console=console,
        )  # fmt: skip
        self._trial_task = self._trial_bar.add_task("getting ready", total=1.0)
        self._best = Text("")
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
        self._study_bar.update(self._study_task, total=total, completed=len(self._trials))
        if not self._console.is_terminal:
            self._console.print(f"{len(self._trials)} of {total} trials done before this run", highlight=False)

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        self._running = f"{number} {origin}  {describe(point)}"
        self._trial_bar.update(self._trial_task, completed=0.0, description=self._running)

    def choice_started(self, on: str) -> None:
        self._running = f"Table 2's variant by DER on {on}"
        self._trial_bar.update(self._trial_task, completed=0.0, description=self._running)

    def choice_finished(self, choice: Choice) -> None:
        self._console.print(f"Table 2's variant: {choice}", markup=False, highlight=False, soft_wrap=True)

    def trial_progress(self, stage: str, fraction: float) -> None:
        self._trial_bar.update(self._trial_task, completed=fraction, description=f"{self._running}  {stage}")

    def trial_finished(self, trial: FrozenTrial) -> None:
        self._trials[trial.number] = trial
        self._seconds.append(trial.duration.total_seconds() if trial.duration else 0.0)
        self._study_bar.update(self._study_task, completed=len(self._trials))
        bests = best_values(list(self._trials.values()))
        self._best = Text("best   " + "   ".join(f"{b.metric} {b.value:.4g} #{b.trial}" for b in bests))
        if self._console.is_terminal and trial.state is TrialState.COMPLETE:
            return
        line = f"[{len(self._trials)}/{self._total}] {self._sentence(trial)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _sentence(self, trial: FrozenTrial) -> str:
        took = f"{self._seconds[-1]:.1f} s"
        if trial.state is not TrialState.COMPLETE:
            return f"trial {self._running}: failed after {took}: {trial.user_attrs.get(record.ERROR)}"
        der, size, rtf = trial.values
        twin = trial.user_attrs.get(record.REUSED_FROM)
        how = took if twin is None else f"measured by trial {twin}"
        return f"trial {self._running}: DER {der:.2f} %  {size:.2f} MiB  RTF {rtf:.4f}  ({how})"

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
