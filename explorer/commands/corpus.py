"""`explorer corpus`: show what a corpus holds and whether it is usable; `explorer corpus simulate` makes one."""

import csv
import sys
from collections import deque
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from explorer.commands.simulate import simulate
from explorer.terminal.corpus_remarks import print_remarks
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Table, names, print_table, words
from objectives.errors import ascii_controls

if TYPE_CHECKING:  # these import pyannote, which would slow down every other command
    from objectives.corpora.corpus import Corpus
    from objectives.corpora.summary import SpeechSummary

SHOW, SIMULATE = "show", "simulate"
FIGURES = ("duration", "annotated", "speakers", "speech", "overlap %")


class _ShownByName(TyperGroup):
    """Read `explorer corpus NAME` as `explorer corpus show NAME`; for a folder called simulate, write ./simulate."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (SHOW, SIMULATE, "--help"):
            args = [SHOW, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShownByName,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show what a corpus holds (`explorer corpus NAME_OR_PATH`, short for `show`), or simulate conversations.",
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
        Format | None, typer.Option("--format", help="table (default), csv (one line per recording) or json.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the splits if the corpus defines none (default 0).")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Also decode every recording to its end, and list all that is left out or merged."
        ),
    ] = False,
) -> None:
    """Show the recordings of a corpus: splits, durations, speakers, overlap, and speakers that splits share.

    Overlap is the share of speech in which at least two people speak; only the annotated parts count.

    A folder works as it is: audio of any format, an RTTM for each recording (or one for all), UEM files if only
    parts are annotated, and a splits.json such as {"train": ["call01"], "eval": ["call02"]} if you choose the splits
    yourself. Errors name the file, the line and the remedy. What is left out (an RTTM without audio, a broken link,
    an unsupported suffix) is listed on standard error: in brief, and in full with `--check`.

    Examples:

        explorer corpus ami-excerpts

        explorer corpus ./my-calls --seed 1 --format csv

        explorer corpus simsamu:./simsamu --check

        explorer corpus protocol:AMI.SpeakerDiarization.mini@./database.yml
    """
    # imported late, so that only this command loads pyannote
    from objectives.corpora.audio.reading import audio_pieces
    from objectives.corpora.sources import load_corpus
    from objectives.corpora.summary import in_brief, summarize_recordings

    loaded = load_corpus(name_or_path, seed=0 if seed is None else seed)
    print_remarks(map(str, loaded.remarks) if check else in_brief(loaded, name_or_path))
    if check:
        for recording in loaded.split("all"):
            deque(audio_pieces(recording.audio, recording.duration), maxlen=0)
    if output is Format.json:
        echo_json(_as_json(loaded))
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
    from objectives.corpora.summary import summarize_recordings, summarize_splits

    return {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "recordings": [_recording_row(summary) for summary in summarize_recordings(corpus)],
        "splits": [_split_row(summary) for summary in summarize_splits(corpus)],
        "shared_speakers": corpus.shared_speakers(),
        "remarks": [_printable(asdict(remark)) for remark in corpus.remarks],
    }


def _printable(remark: "dict[str, str]") -> dict[str, str]:
    """Make a remark printable: a file name need not be valid UTF-8."""
    return {key: ascii_controls(value) for key, value in remark.items()}


def _print_csv(summaries: "tuple[SpeechSummary, ...]") -> None:
    rows = [_recording_row(summary) for summary in summaries]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_tables(corpus: "Corpus") -> None:
    from objectives.corpora.summary import summarize_recordings, summarize_splits

    console = screen()
    print_table(_recordings(f"Recordings of {corpus.name} (times in seconds)", summarize_recordings(corpus)), console)
    console.print()
    print_table(_splits(summarize_splits(corpus)), console)
    shared = corpus.shared_speakers()
    for speaker, splits in shared.items():
        say(f"speaker {speaker} is in {', '.join(splits)}", console)
    if not shared:
        say("No speaker is in two splits, judging by their names.", console)


def _recordings(title: str, summaries: "tuple[SpeechSummary, ...]") -> Table:
    table = Table(words("split"), names("recording"), *FIGURES, title=title, keys=2)
    for summary in summaries:
        table.add(summary.split, str(summary.uri), *_figures(summary))
    return table


def _splits(summaries: "tuple[SpeechSummary, ...]") -> Table:
    table = Table(words("split"), "recordings", *FIGURES, title="Splits (times in seconds)")
    for summary in summaries:
        table.add(summary.split, str(summary.recordings), *_figures(summary))
    return table


def _figures(summary: "SpeechSummary") -> tuple[str, ...]:
    return (
        f"{summary.duration:.1f}",
        f"{summary.annotated:.1f}",
        str(summary.speakers),
        f"{summary.speech:.1f}",
        f"{100 * summary.overlap_share:.1f}",
    )


app.command(SHOW)(corpus)
app.command(SIMULATE)(simulate)
