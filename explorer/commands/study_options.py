"""Options of commands that look at a study, and how they open it."""

from collections.abc import Mapping
from typing import Annotated

import optuna
import typer

from explorer.storage import connection, foreign_trials, urls
from explorer.terminal.screen import say, screen
from objectives.machine import Device
from studies.definition import name_of

StudyArgument = Annotated[
    str, typer.Argument(help="Name of a study in the storage, or the `.toml` file it was run from.")
]
TrialArgument = Annotated[int, typer.Argument(help="Number of the trial, as `front` shows it.", min=0)]
StorageOption = Annotated[
    str | None,
    typer.Option("--storage", help=f"Optuna RDB URL. Default: `{urls.DEFAULT_URL}`, in the current directory."),
]
StudyDeviceOption = Annotated[
    Device | None,
    typer.Option("--device", help="Where windows are run for the DER. Default: where the study ran them."),
]


def open_study(study: str, storage_url: str | None) -> optuna.Study:
    """Load a study as the command line names it. Raises StudyError."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return connection.load_study(name_of(study), urls.given(storage_url))


def remark_on(left_out: Mapping[int, str]) -> None:
    """Report on standard error which trials of a study are left out, and why."""
    if remark := foreign_trials.in_words(left_out):
        say(remark, screen(stderr=True), "yellow")
