"""The progress bar of a command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from explorer.terminal.screen import WHOLE, WRAPPED, screen


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Show a bar on stderr, removed when done: `with progress() as show: show(stage, fraction)`."""
    stage = TextColumn("{task.description}", markup=False, table_column=WRAPPED)
    columns = (stage, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(table_column=WHOLE))
    console = screen(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("getting ready", total=1.0)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction)
