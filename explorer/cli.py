"""The command line: `explorer`. Parsing and printing only."""

import sys

import typer
from rich.console import Console

from explorer.commands import assets, models
from explorer.commands.calibrate import calibrate
from explorer.commands.corpus import corpus
from explorer.commands.dashboard import dashboard
from explorer.commands.front import front
from explorer.commands.measure import measure
from explorer.commands.run import run
from explorer.commands.status import status
from objectives.errors import ExplorerError

app = typer.Typer(
    name="explorer",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Search the design space of streaming speaker diarization: chunk length C, right context R, pruning and "
    "precision of the segmentation model.",
)
for command in (run, front, status, dashboard, measure, calibrate, corpus):
    app.command()(command)
app.add_typer(assets.app, name="assets")
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line; an ExplorerError becomes one line on stderr and exit status 1."""
    try:
        app()
    except ExplorerError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        print(error, file=sys.stderr)
        sys.exit(1)
