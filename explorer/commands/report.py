"""`explorer report`: write a study as one page to keep, print and share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from explorer.commands.study_options import StorageOption, StudyArgument, open_study
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json


def report(
    study: StudyArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create: the page, `figures/` and `data/`.")],
    storage_url: StorageOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace DIR if it is an earlier report.")] = False,
    format: Annotated[Literal["text", "json"], typer.Option(help="`json` lists every file, for programs.")] = "text",
) -> None:
    """Write a report of a study: one self-contained HTML page, its figures as PNG and its data as CSV.

    The report holds the joint front; the paper's Figures 1, 2, 3 and Tables 1, 2 from this study's measurements, with
    the published figures beside them; the stages of the compute; and DER against the overlapped speech of the
    recordings, for which the corpus is read once more. If the study lacks the data for a section, the section is left
    out, and the page says which study would provide it. Every figure names the trials that it is made of.

    The page works offline, has no scripts and prints well. It holds names of recordings, but no audio and no paths.

        explorer report quickstart ./quickstart-report

        explorer report joint ./joint-report --force

        explorer report joint ./joint-report --format json
    """
    # imported late, so that only this command loads matplotlib and pyannote
    from explorer.report.report import write_report

    errors = screen(stderr=True)
    found = open_study(study, storage_url)
    page = write_report(found, folder, force, lambda step: say(step, errors, "dim"))
    files = sorted(path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*") if path.is_file())
    if format == "json":
        echo_json({"study": found.study_name, "page": str(page), "files": files})
    else:
        say(f"{page}, with {len(files) - 1} more files beside it", screen())
