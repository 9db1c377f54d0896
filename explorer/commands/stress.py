"""`explorer stress`: a trial's operating point under overlap and noise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from explorer.commands.options import FormatOption, TrustOption, print_as, speaker_range, trusted_files
from explorer.commands.simulate import (
    BandOption,
    NoiseKindOption,
    SimulatedOption,
    decibels,
)
from explorer.commands.study_options import StorageOption, StudyArgument, StudyDeviceOption, TrialArgument, open_study
from explorer.statistics.differences import points_in_words
from explorer.terminal.progress import progress
from explorer.terminal.screen import say
from explorer.terminal.tables import Column, Table, print_table, words
from objectives.errors import CorpusError

if TYPE_CHECKING:  # imports torch
    from explorer.diagnostics.stress import Answer


def stress(
    study: StudyArgument,
    trial: TrialArgument,
    overlap: Annotated[
        str, typer.Option(metavar="SHARE,…", help="Shares of the speech in which two people speak, 0 to 0.5.")
    ] = "0,0.1,0.2,0.4",
    noise: Annotated[
        str, typer.Option(metavar="DB|none,…", help="Levels of noise: dB of speech over noise, `none` for none.")
    ] = "none,20,10,5",
    speech: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Single-speaker recordings, as `corpus simulate` takes them. Default: the parts of the study's own "
            "split in which one person speaks alone.",
        ),
    ] = None,
    against: Annotated[
        int | None, typer.Option(metavar="TRIAL", help="Another trial to compare with, in each cell.", min=0)
    ] = None,
    speakers: SimulatedOption = "2-3",
    minutes: Annotated[float, typer.Option(help="Minutes of all recordings of a cell, without overlap.")] = 10.0,
    length: Annotated[float, typer.Option(help="Minutes of one recording, without overlap.")] = 1.0,
    noise_kind: NoiseKindOption = "pink",
    band: BandOption = "wide",
    seed: Annotated[int, typer.Option(help="Seed of the conversations.")] = 0,
    device: StudyDeviceOption = None,
    trust: TrustOption = None,
    storage_url: StorageOption = None,
    format: FormatOption = "table",
) -> None:
    """Show how a trial's DER degrades with overlapped speech and with noise.

    Conversations are made from recordings of people who speak alone, once for each cell of a grid of overlap and noise.
    Every cell has the same words by the same people, so that cells can be compared recording by recording. Differences,
    to the cell of the least overlap and noise and to the other trial (`--against`), are in points of DER, with the 95 %
    interval of a paired bootstrap over recordings; `tied` marks one that the recordings cannot distinguish from zero.

    The answer is kept in the study, and `explorer report` draws all trials that were stressed under the same
    conditions. The study's trials and its front do not change.

        explorer stress quickstart 13 --against 0

        explorer stress quickstart 13 --speech ./LibriSpeech/dev-clean --overlap 0,0.2 --noise none,10 --band telephone
    """
    loaded = open_study(study, storage_url)
    # imported late, so that neither `--help` nor a wrong name loads torch
    from explorer.diagnostics.stress import Grid
    from explorer.diagnostics.stress import stress as stressed

    grid = Grid(
        overlaps=tuple(_share(each) for each in overlap.split(",")),
        noises=tuple(decibels(each) for each in noise.split(",")),
        speakers=speaker_range(speakers),
        minutes=minutes,
        length=length,
        noise_kind=noise_kind,
        band=band,
        seed=seed,
    )
    with progress() as show:
        answer = stressed(loaded, trial, grid, speech, against, device, show, trusted_files(trust))
    print_as(format, answer, print_answer)


def print_answer(answer: "Answer", console: Console) -> None:
    """Print one row per cell, then the same in words."""
    stressed, other = answer.stressed, answer.against
    say(f"trial {stressed.trial} of {answer.study}: {stressed.point}", console)
    if other is not None:
        say(f"against trial {other.trial}: {other.point}", console)
    beside: list[Column | str] = [] if other is None else [f"trial {other.trial}", words("difference, points")]
    table = Table(
        "overlap %", "noise dB", "DER %", "FA", "miss", "conf", words("added, points"), *beside, keys=2
    )  # fmt: skip
    for place, (cell, added) in enumerate(zip(stressed.cells, answer.added, strict=True)):
        rates = (cell.der, cell.false_alarm, cell.missed_detection, cell.confusion)
        row = [f"{100 * cell.overlap_share:.1f}", "none" if cell.noise is None else f"{cell.noise:g}"]
        row += [*(f"{rate:.2f}" for rate in rates), "" if added is None else points_in_words(added)]
        if other is not None:
            row += [f"{other.cells[place].der:.2f}", points_in_words(answer.apart[place])]
        table.add(*row)
    console.print()
    print_table(table, console)
    kept = f"{stressed.recordings} recordings in each cell; kept in the study, for `explorer report`"
    for line in (*answer.said, *(f"caveat: {line}" for line in answer.caveats), kept):
        say(line, console)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise CorpusError(f"overlap {text!r}: give shares of the speech, such as 0,0.1,0.2") from error
