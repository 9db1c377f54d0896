"""`explorer corpus`: show what a corpus holds and whether it is usable; `explorer corpus simulate` makes one."""

import csv
import sys
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

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


def corpus(
    name_or_path: Annotated[
        str,
        typer.Argument(
            metavar="NAME_OR_PATH",
            help="ami-excerpts, simsamu, simsamu:FOLDER, a folder of audio + RTTM, or protocol:NAME[@database.yml].",
        ),
    ],
    output: Annotated[
        Literal["table", "csv", "json"],
        typer.Option("--format", help="table, csv (one line per recording) or json."),
    ] = "table",
    seed: Annotated[int, typer.Option(help="Seed of the splits if the corpus defines none.")] = 0,
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

    loaded = load_corpus(name_or_path, seed=seed)
    print_remarks(map(str, loaded.remarks) if check else in_brief(loaded, name_or_path))
    if check:
        for recording in loaded.split("all"):
            deque(audio_pieces(recording.audio, recording.duration), maxlen=0)
    if output == "json":
        echo_json(_as_json(loaded))
    elif output == "csv":
        rows = [_row(summary, "recordings") for summary in summarize_recordings(loaded)]
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_tables(loaded)


def _row(summary: "SpeechSummary", left_out: str) -> dict[str, object]:
    row = asdict(summary) | {"overlap_share": summary.overlap_share}
    # one decimal more than the milliseconds of an RTTM
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in row.items() if key != left_out
    }


def _as_json(corpus: "Corpus") -> dict[str, object]:
    from objectives.corpora.summary import summarize_recordings, summarize_splits

    return {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "recordings": [_row(summary, "recordings") for summary in summarize_recordings(corpus)],
        "splits": [_row(summary, "uri") for summary in summarize_splits(corpus)],
        "shared_speakers": corpus.shared_speakers(),
        # a file name need not be valid UTF-8
        "remarks": [{key: ascii_controls(value) for key, value in asdict(one).items()} for one in corpus.remarks],
    }


def _print_tables(corpus: "Corpus") -> None:
    from objectives.corpora.summary import summarize_recordings, summarize_splits

    console = screen()
    title = f"Recordings of {corpus.name} (times in seconds)"
    recordings = Table(words("split"), names("recording"), *FIGURES, title=title, keys=2)
    for one in summarize_recordings(corpus):
        recordings.add(one.split, str(one.uri), *_figures(one))
    splits = Table(words("split"), "recordings", *FIGURES, title="Splits (times in seconds)")
    for one in summarize_splits(corpus):
        splits.add(one.split, str(one.recordings), *_figures(one))
    print_table(recordings, console)
    console.print()
    print_table(splits, console)
    shared = corpus.shared_speakers()
    for speaker, where in shared.items():
        say(f"speaker {speaker} is in {', '.join(where)}", console)
    if not shared:
        say("No speaker is in two splits, judging by their names.", console)


def _figures(one: "SpeechSummary") -> list[str]:
    seconds = [f"{one.duration:.1f}", f"{one.annotated:.1f}"]
    return [*seconds, str(one.speakers), f"{one.speech:.1f}", f"{100 * one.overlap_share:.1f}"]


app.command(SHOW)(corpus)
app.command(SIMULATE)(simulate)
