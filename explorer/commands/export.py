"""`explorer export`: write an operating point as files that run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import optuna
import typer

from explorer.commands.measure import progress
from explorer.commands.options import TrustOption, trusted_files
from explorer.storage import connection, urls
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from studies.definition import name_of


class ExportFormat(StrEnum):
    """How the result is printed."""

    table = "table"
    json = "json"


def export(
    study: Annotated[str, typer.Argument(help="Name of a study in the storage, or the `.toml` file it was run from.")],
    trial: Annotated[int, typer.Argument(help="Number of a complete trial, as `front` shows it.", min=0)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing bundle; any other folder is kept.")
    ] = False,
    trust: TrustOption = None,
    storage_url: Annotated[
        str | None,
        typer.Option("--storage", help=f"Optuna RDB URL. Default: `{urls.DEFAULT_URL}`, in the current directory."),
    ] = None,
    format: Annotated[
        ExportFormat, typer.Option(help="`table` for people; `json`: operating_point.json, with the folder.")
    ] = ExportFormat.table,
) -> None:
    """Export a trial: a folder with everything needed to run its operating point.

    It holds `model.onnx` (low-bit if the precision is) and `embedding.onnx`, which `explorer diarize` and sherpa-onnx
    load; `model.safetensors`; for fp32 and fp16 a checkpoint that stock pyannote.audio loads; `operating_point.json`
    with all settings, figures, hashes, licences and versions; and a `README.md` that says what each program can use.

    The files are measured again before the folder appears: classes and DER on the trial's recordings, the bundle's own
    loop, the size. If they differ from what the trial measured, nothing is exported.

        explorer export quickstart 13 points/small

        explorer diarize call.wav --point points/small --rttm call.rttm
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    loaded = connection.load_study(name_of(study), urls.given(storage_url))
    # imported late, so that neither `--help` nor a wrong name loads torch
    from explorer.bundle.card import parity_in_words
    from explorer.bundle.export import export_trial

    with progress() as show:
        exported = export_trial(loaded, trial, folder, force, show, trusted_files(trust))
    facts = exported.bundle.told
    if format is ExportFormat.json:
        echo_json({"folder": str(folder), **facts.model_dump()})
        return
    console = screen()
    for path in sorted(folder.iterdir()):
        say(f"{path.stat().st_size / 2**20:8.3f} MiB  {path}", console)
    say(parity_in_words(facts.parity), console)
