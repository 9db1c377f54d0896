"""`explorer corpus`: what a corpus holds, and whether it can be used; `explorer corpus simulate` makes one."""

import csv
import json
import sys
from collections import deque
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from explorer.commands.simulate import simulate

if TYPE_CHECKING:  # they bring pyannote, for which every other command would wait too
    from objectives.corpus import Corpus
    from objectives.corpus_summary import SpeechSummary

SHOW, SIMULATE = "show", "simulate"


class _ShownByName(TyperGroup):
    """`explorer corpus NAME` is `explorer corpus show NAME`; a folder called simulate is ./simulate."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (SHOW, SIMULATE, "--help"):
            args = [SHOW, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShownByName,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What a corpus holds (`explorer corpus NAME_OR_PATH`, short for `show`), and conversations that are made.",
)


class Format(StrEnum):
    """How the figures are printed."""

    table = "table"
    csv = "csv"
    json = "json"


def corpus(
    name_or_path: Annotated[
        str,
        typer.Argument(
            metavar="NAME_OR_PATH",
            help="ami-excerpts, simsamu, simsamu:FOLDER, a folder of audio + RTTM, or protocol:NAME[@database.yml].",
        ),
    ],
    output: Annotated[
        Format | None, typer.Option("--format", help="table (default), csv (one line a recording) or json.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the splits where the corpus brings none (default 0).")] = None,
    check: Annotated[bool, typer.Option("--check", help="Also decode every recording to its end.")] = False,
) -> None:
    """Show the recordings of a corpus: splits, durations, speakers, overlap, and speakers that splits share.

    Overlap is the share of speech in which at least two speak; only the annotated parts count.

    A folder works as it is: audio of any format, an RTTM for each recording (or one for all), UEM files where only
    parts are annotated, and a splits.json such as {"train": ["call01"], "eval": ["call02"]} where the splits are yours
    to choose. What cannot be used is named, with the line and the remedy.

    Examples:

        explorer corpus ami-excerpts

        explorer corpus ./my-calls --seed 1 --format csv

        explorer corpus simsamu:./simsamu --check

        explorer corpus protocol:AMI.SpeakerDiarization.mini@./database.yml
    """
    # late, so that only this command waits for pyannote
    from objectives._audio import audio_pieces
    from objectives.corpus_summary import summarize_recordings
    from objectives.sources import load_corpus

    loaded = load_corpus(name_or_path, seed=0 if seed is None else seed)
    for recording in loaded.split("all"):
        for remark in recording.remarks:
            typer.echo(f"{recording.uri}: {remark}", err=True)
    if check:
        for recording in loaded.split("all"):
            deque(audio_pieces(recording.audio, recording.duration), maxlen=0)
    if output is Format.json:
        json.dump(_as_json(loaded), sys.stdout, indent=2, ensure_ascii=False)
        print()
    elif output is Format.csv:
        _print_csv(summarize_recordings(loaded))
    else:
        _print_tables(loaded)


def _row(summary: "SpeechSummary") -> dict[str, object]:
    row = asdict(summary) | {"overlap_share": summary.overlap_share}
    # one decimal more than the milliseconds of an RTTM
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def _recording_row(summary: "SpeechSummary") -> dict[str, object]:
    return {key: value for key, value in _row(summary).items() if key != "recordings"}


def _split_row(summary: "SpeechSummary") -> dict[str, object]:
    return {key: value for key, value in _row(summary).items() if key != "uri"}


def _as_json(corpus: "Corpus") -> dict[str, object]:
    from objectives.corpus_summary import summarize_recordings, summarize_splits

    return {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "recordings": [_recording_row(summary) for summary in summarize_recordings(corpus)],
        "splits": [_split_row(summary) for summary in summarize_splits(corpus)],
        "shared_speakers": corpus.shared_speakers(),
    }


def _print_csv(summaries: "tuple[SpeechSummary, ...]") -> None:
    rows = [_recording_row(summary) for summary in summaries]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_tables(corpus: "Corpus") -> None:
    from objectives.corpus_summary import summarize_recordings, summarize_splits

    console = Console()
    console.print(_table(f"Recordings of {corpus.name} (times in seconds)", "recording", summarize_recordings(corpus)))
    console.print(_table("Splits (times in seconds)", "recordings", summarize_splits(corpus)))
    shared = corpus.shared_speakers()
    for speaker, splits in shared.items():
        console.print(f"speaker {speaker} is in {', '.join(splits)}", markup=False, highlight=False)
    if not shared:
        console.print("No speaker is in two splits, as far as their names tell.")


def _table(title: str, first: str, summaries: "tuple[SpeechSummary, ...]") -> Table:
    table = Table(title=Text(title), title_justify="left")
    table.add_column("split")
    table.add_column(first, justify="left" if first == "recording" else "right")
    for heading in ("duration", "annotated", "speakers", "speech", "overlap %"):
        table.add_column(heading, justify="right")
    for summary in summaries:
        table.add_row(
            summary.split,
            Text(str(summary.recordings) if summary.uri is None else summary.uri),  # a name is no markup
            f"{summary.duration:.1f}",
            f"{summary.annotated:.1f}",
            str(summary.speakers),
            f"{summary.speech:.1f}",
            f"{100 * summary.overlap_share:.1f}",
        )
    return table


app.command(SHOW)(corpus)
app.command(SIMULATE)(simulate)
