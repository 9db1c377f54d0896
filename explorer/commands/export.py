"""`explorer export`: write an operating point as files that run."""

from pathlib import Path
from typing import Annotated

import typer

from explorer.commands.options import TableOrJson, TrustOption, trusted_files
from explorer.commands.study_options import StorageOption, StudyArgument, open_study
from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json


def export(
    study: StudyArgument,
    trial: Annotated[int, typer.Argument(help="Number of a complete trial, as `front` shows it.", min=0)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing bundle; any other folder is kept.")
    ] = False,
    trust: TrustOption = None,
    storage_url: StorageOption = None,
    format: Annotated[
        TableOrJson, typer.Option(help="`table` for people; `json`: operating_point.json, with the folder.")
    ] = "table",
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
    loaded = open_study(study, storage_url)
    # imported late, so that neither `--help` nor a wrong name loads torch
    from explorer.bundle.card import parity_in_words
    from explorer.bundle.export import export_trial

    with progress() as show:
        bundle = export_trial(loaded, trial, folder, force, show, trusted_files(trust))
    manifest = bundle.manifest
    if format == "json":
        echo_json({"folder": str(folder), **manifest.model_dump()})
        return
    console = screen()
    for path in sorted(folder.iterdir()):
        say(f"{path.stat().st_size / 2**20:8.3f} MiB  {path}", console)
    say(parity_in_words(manifest.parity), console)
