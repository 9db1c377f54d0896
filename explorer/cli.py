"""The command line: `explorer`. It only parses and prints.

A command's module is imported when the command is run, so `explorer diarize` does not wait for torch or Optuna.
"""

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

from explorer.terminal import streams
from explorer.terminal.screen import screen
from explorer.terminal.signals import ended_like_ctrl_c
from objectives.errors import ExplorerError, OutputError, ascii_controls

# In the order in which `--help` lists them. Each is a module of explorer/commands with a function of the same name, or
# with `app` if it has subcommands.
COMMANDS = (
    "run",
    "front",
    "status",
    "recommend",
    "report",
    "dashboard",
    "verify",
    "explain",
    "stress",
    "export",
    "diarize",
    "measure",
    "calibrate",
    "corpus",
    "assets",
    "models",
)


class _OnDemand(TyperGroup):
    """Finds commands by name in explorer/commands."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with ended_like_ctrl_c():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"explorer.commands.{cmd_name}")
        if hasattr(module, "app"):
            group = typer.main.get_group(module.app)
            group.name = cmd_name
            return group
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
        alone.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(alone)


app = typer.Typer(
    name="explorer",
    cls=_OnDemand,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def explorer() -> None:
    """Search the design space of streaming speaker diarization: chunk length C, right context R, pruning and precision
    of the segmentation model."""


def main() -> None:
    """Run the command line. An ExplorerError becomes one line on stderr and exit status 1.

    If the reader of a pipe goes away (`| head`), end silently with the exit status that a shell expects then.
    """
    try:
        streams.guard()
        try:
            _run()
        finally:
            sys.stdout.flush()
    except OutputError as error:
        streams.discard(streams.OUTPUT)
        if isinstance(error.__cause__, BrokenPipeError):
            sys.exit(streams.PIPE_CLOSED)
        _complain(error)


def _run() -> None:
    try:
        app()
    except OutputError:
        raise
    except ExplorerError as error:
        _complain(error)
    except Exception as error:  # an error of Optuna's storage is reported like our own; everything else is re-raised
        if not _is_of_a_storage(error):  # a bug: show its traceback
            raise
        from explorer.storage.errors import refusal

        _complain(refusal("the study storage", error))


def _complain(error: ExplorerError) -> NoReturn:
    screen(stderr=True).print(Text("error:", "bold red"), f"{type(error).__name__}: ", end="")
    print(ascii_controls(str(error)), file=sys.stderr)
    sys.exit(1)


def _is_of_a_storage(error: Exception) -> bool:
    """Whether Optuna could not read or write a database. False if no command has imported Optuna."""
    optuna = sys.modules.get("optuna.exceptions")
    return optuna is not None and isinstance(error, optuna.StorageInternalError)
