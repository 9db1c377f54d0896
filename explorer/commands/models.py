"""`explorer models`: list, show and clean up the finished models that are kept."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from explorer.commands.options import FormatOption, print_as
from explorer.terminal.screen import say, screen
from explorer.terminal.tables import Column, Table, print_fields, print_table, words
from objectives.cache.model_cleaning import Entry, stored_models
from objectives.cache.model_cleaning import clean as delete
from objectives.cache.model_store import models_dir
from objectives.errors import ModelError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, show and clean up finished models.\n\n"
    "A model is compressed once and kept under a key, a hash of everything that determines it, so that every trial and "
    "every study that needs the same model finds it. A deleted or damaged model is made again when it is needed. "
    "Models are kept in `models/` of the user's cache directory, or of the folder that the environment variable "
    "**EXPLORER_CACHE** names.",
)

KEY_SHOWN = 8  # digits of a key that a table shows; more if two begin alike
DAY = 86_400.0
_STYLES = {"whole": "", "damaged": "bold red", "half-written": "bold red", "being made": "yellow"}
_AGES = ((DAY, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@app.command("list")
def list_models(output: FormatOption = "table") -> None:
    """Show every kept model: how it was made, its size, its age, when it was last used, and its state.

    *MiB* is the model's own file, the size that studies minimise; *on disk* includes what was derived from it (the
    graph that ONNX Runtime runs). *kept* is the number of units left by pruning. *built* is how long it took.

    Every byte is read: a *whole* model is unchanged since it was written. *damaged* and *half-written* files are never
    used, and are made again when needed; `explorer models clean` deletes them.

        explorer models list

        explorer models list --format json | jq '.[] | select(.precision == "int8_ptq")'
    """
    print_as(output, stored_models(), _print_list, lambda entries: [_row(entry) for entry in entries])


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A model's key, or as much of its beginning as is unique.")],
    output: FormatOption = "table",
) -> None:
    """Show one model: everything that it was made from, how that went, its files and their state.

    explorer models show 3f2a

    explorer models show 3f2a --format json
    """
    entry = _find(key)
    facts = _row(entry) | {
        "sha256": entry.model.sha256 if entry.model else None,
        "files": [str(path) for path in (*entry.files, *entry.leftovers)],
        "made_from": entry.model.made_from if entry.model else {},
        "story": entry.model.story if entry.model else {},
    }
    print_as(output, facts, lambda facts, console: print_fields(_lines("", facts), console), dict)


@app.command("prune", hidden=True)  # the old name, which suggested the pruning of models
@app.command("clean")
def clean(
    unused_for: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0.0, help="Also whole models not used for so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also every whole model.")] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Only what is damaged or half written, as without any option.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting whole models.")] = False,
) -> None:
    """Delete damaged and half-written models, and whole ones that you choose.

    Without options only useless files are deleted: damaged models, and what a killed process left behind. Whole models
    are deleted if `--unused-for` or `--all` says so, after a question. Everything derived from a model is deleted with
    it. What a running process makes or uses is kept. A deleted model is made again when it is needed, in the time that
    `explorer models list` shows as *built*.

        explorer models clean

        explorer models clean --unused-for 30 --dry-run

        explorer models clean --all --yes
    """
    if (unused_for is not None) + everything + damaged > 1:
        raise typer.BadParameter("--unused-for, --all and --damaged exclude each other: use one of them")
    entries = stored_models()
    whole = [entry for entry in entries if entry.state == "whole"]
    chosen = whole if everything else [] if unused_for is None else _unused(whole, unused_for)
    doomed = [entry for entry in entries if entry.debris or entry in chosen]
    console = screen()
    for entry in doomed:
        say(_fate(entry, entry in chosen, dry_run), console)
    if not dry_run:
        if chosen and not yes:
            typer.confirm(f"Delete {_models(len(chosen))} ({_mib(chosen)} MiB)?", abort=True)
        cleaned = delete(doomed, {entry.key for entry in chosen})
        for key, why in cleaned.spared.items():
            say(f"{key} stays: {why}", console)
        files = "1 file" if len(cleaned.deleted) == 1 else f"{len(cleaned.deleted)} files"
        say(f"deleted {files}, {cleaned.freed / 2**20:.2f} MiB", console)
    if whole and not chosen and unused_for is None and not damaged:
        say(
            f"{_models(len(whole))} ({_mib(whole)} MiB) kept: delete some with --unused-for DAYS, all with --all",
            console,
        )


def _find(start: str) -> Entry:
    entries = stored_models()
    found = [entry for entry in entries if entry.key.startswith(start.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        digits = _digits(entries)
        listed = ", ".join(entry.key[:digits] for entry in found)
        raise ModelError(
            f"{len(found)} finished models have keys that begin with {start!r} ({listed}): give more of it"
        )
    raise ModelError(
        f"no finished model in {models_dir()} has a key that begins with {start!r}: `explorer models list` shows them"
    )


def _unused(whole: Iterable[Entry], days: float) -> list[Entry]:
    limit = time.time() - days * DAY
    return [entry for entry in whole if entry.last_used is not None and entry.last_used <= limit]


def _fate(entry: Entry, chosen: bool, dry_run: bool) -> str:
    verb = "would delete" if dry_run else "to delete:"
    size = f"{_mib([entry])} MiB"
    if chosen:
        used = "never used" if entry.last_used is None else f"last used {_ago(entry.last_used)} ago"
        return f"{verb} {entry.key} ({_name(entry)}, {size}, {used})"
    if entry.state == "damaged":
        return f"{verb} {entry.key} ({_name(entry)}, {size}): it {entry.damage}"
    return f"{verb} half-written {', '.join(path.name for path in entry.debris)}"


def _row(entry: Entry) -> dict[str, Any]:
    """Return the row that programs get and tables are made of. What the sidecar does not record is None."""
    model = entry.model
    made_from: Mapping[str, Any] = model.made_from if model else {}
    story: Mapping[str, Any] = model.story if model else {}
    recovery = made_from.get("recovery")
    return {
        "key": entry.key,
        "state": entry.state,
        "damage": entry.damage or None,
        "structure": made_from.get("structure"),
        "ratio": made_from.get("ratio"),
        "precision": made_from.get("precision"),
        "kept": story.get("kept"),
        "params": story.get("params"),
        "recovery": recovery.get("method") if isinstance(recovery, Mapping) else recovery,
        "path": str(model.path) if model else None,
        "size_bytes": model.size_bytes if model else None,
        "size_on_disk_bytes": entry.size_bytes,
        "build_seconds": model.build_seconds if model else None,
        "made": model.made if model else None,
        "last_used": None
        if entry.last_used is None
        else datetime.fromtimestamp(entry.last_used).astimezone().isoformat(),
    }


def _print_list(entries: Sequence[Entry], console: Console) -> None:
    digits = _digits(entries)
    shown = [_cells(entry, digits) for entry in entries]
    if shown:
        table = Table(*shown[0])
        for entry, cells in zip(entries, shown, strict=True):
            table.add(*(str(cell or "–") for cell in cells.values()), style=_STYLES[entry.state])
        print_table(table, console)
    states = [entry.state for entry in entries]
    counts = ", ".join(f"{states.count(state)} {state}" for state in _STYLES if state in states)
    listed = f"{_models(len(entries))} ({counts})" if counts else "no models"
    say(f"{listed}, {_mib(entries)} MiB in {models_dir()}", console)


def _cells(entry: Entry, digits: int) -> dict[Column | str, Any]:
    """Return a row of the table by column. digits: of the key."""
    row, model = _row(entry), entry.model
    return {
        words("key"): entry.key[:digits],
        words("structure"): row["structure"],
        "ratio": row["ratio"] and f"{row['ratio']:g}",
        words("precision"): row["precision"],
        words("kept"): ", ".join(f"{units} {name}" for name, units in (row["kept"] or {}).items()),
        "MiB": model and f"{model.size_bytes / 2**20:.2f}",
        "on disk": _mib([entry]),
        "params": row["params"] and f"{row['params'] / 1e6:.3f} M",
        words("recovery"): row["recovery"],
        "built": model and f"{model.build_seconds:.0f} s",
        "age": model and _ago(datetime.fromisoformat(model.made).timestamp()),
        "used": entry.last_used and _ago(entry.last_used),
        words("state"): entry.state,
    }


def _lines(before: str, values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield nested values, one per line: recovery.steps = 200."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(f"{before}{name}.", value)
        elif value is not None and value != {}:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _digits(entries: Sequence[Entry]) -> int:
    """Return how many digits of each key distinguish it from the others."""
    digits = KEY_SHOWN
    while len({entry.key[:digits] for entry in entries}) < len(entries):
        digits += 1
    return digits


def _name(entry: Entry) -> str:
    row = _row(entry)
    if row["precision"] is None:
        return "of unknown making"
    cut = f"{row['structure']} {row['ratio']:g} " if row["ratio"] else ""
    return f"{cut}{row['precision']}"


def _models(number: int) -> str:
    return "1 model" if number == 1 else f"{number} models"


def _mib(entries: Iterable[Entry]) -> str:
    return f"{sum(entry.size_bytes for entry in entries) / 2**20:.2f}"


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    length, unit = next((age for age in _AGES if seconds >= age[0]), _AGES[-1])
    return f"{seconds / length:.0f} {unit}"
