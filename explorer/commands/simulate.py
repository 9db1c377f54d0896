"""`explorer corpus simulate`: make annotated conversations from single-speaker recordings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from explorer.atomic_files import appearing, refuse_existing, writing
from explorer.commands.options import FormatOption, speaker_range
from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Table, print_table, words
from objectives.errors import CorpusError

if TYPE_CHECKING:  # these import pyannote and scipy
    from objectives.corpora.simulation.conversations import Simulation

NONE = "none"


SimulatedOption = Annotated[
    str, typer.Option(metavar="N|N-N", help="Speakers of a conversation, such as `2` or `2-3`.")
]
NoiseKindOption = Annotated[
    Literal["pink", "speech-shaped"], typer.Option(help="Kind of synthetic noise, if no --noise-dir is given.")
]
NoiseDirOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="With --noise: your own recordings of noise, instead of synthetic noise."),
]
BandOption = Annotated[
    Literal["wide", "telephone"], typer.Option(help="`telephone`: 300 to 3400 Hz, 8 kHz, G.711 (μ-law).")
]


def simulate(
    speech_dir: Annotated[
        Path,
        typer.Argument(
            metavar="SPEECH_DIR", help="A folder of recordings for each person, or files named PERSON-anything."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to create: a corpus like any other.")],
    overlap: Annotated[float, typer.Option(help="Share of the speech in which two speak at once, 0 to 0.5.")] = 0.1,
    noise: Annotated[
        str, typer.Option(metavar="DB|none", help="Speech over noise in dB, while somebody speaks; `none`: no noise.")
    ] = NONE,
    noise_kind: NoiseKindOption = "pink",
    noise_dir: NoiseDirOption = None,
    band: BandOption = "wide",
    speakers: SimulatedOption = "2-3",
    minutes: Annotated[float, typer.Option(help="Minutes of all recordings together.")] = 60.0,
    length: Annotated[float, typer.Option(help="Minutes of one recording, at most.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives identical files.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier simulation at OUT.")] = False,
    format: FormatOption = "table",
) -> None:
    """Make annotated conversations from single-speaker recordings, for controlled tests of overlap and noise.

    The folders of SPEECH_DIR (LibriSpeech's as well) say who speaks, or file names up to the first `-` or `_`.
    Silence is removed by its energy, including pauses of more than 0.5 s, so that the reference marks speech only.
    People take turns with gaps and overlaps, at most two at once, until two speak in the share of the speech that
    `--overlap` asks for. OUT gets audio, RTTM, UEM, a splits.json in which nobody is in two splits, and
    `simulation.json`, which records every setting and the source of each turn. It appears complete or not at all.

    These are not real conversations: nobody listens to anybody. They show how a setting degrades with overlap and
    noise, not how it does on your calls.

        explorer corpus simulate ./LibriSpeech/dev-clean ./made --overlap 0.1 --noise 15 --band telephone --minutes 60

        explorer run quickstart --corpus ./made --name made
    """
    # imported late, so that only this command loads these
    from objectives.corpora.simulation.channel import noise_folder
    from objectives.corpora.simulation.conversations import MARKER, SimulationSettings
    from objectives.corpora.simulation.conversations import simulate as simulated
    from objectives.corpora.simulation.speakers import speech_folder

    settings = SimulationSettings(
        overlap=overlap,
        noise=decibels(noise),
        noise_kind=noise_kind,
        band=band,
        speakers=speaker_range(speakers),
        minutes=minutes,
        length=length,
        seed=seed,
    )
    out = out.absolute()
    refuse_existing(out, force, "simulation", MARKER, CorpusError)
    if noise_dir is not None and settings.noise is None:
        raise CorpusError(
            f"--noise-dir {noise_dir} without noise: give --noise DB too, such as --noise 15, or leave --noise-dir out"
        )
    own_noise = None if noise_dir is None else noise_folder(noise_dir)
    voices = speech_folder(speech_dir)
    if out.resolve().is_relative_to(speech_dir.resolve()):
        raise CorpusError(
            f"{out} lies inside {speech_dir}, and would be taken for speech the next time: give another OUT"
        )
    with appearing(out, force, CorpusError) as staged, progress() as show:
        with writing(out, CorpusError):
            made = simulated(voices, settings, staged, own_noise, lambda done: show("making conversations", done))
        refuse_existing(out, force, "simulation", MARKER, CorpusError)  # again: making it took a while
    if format == "json":
        echo_json({"folder": str(out), **made.as_json()})
    else:
        _print(made, out)


def decibels(text: str) -> float | None:
    """Parse `15` or `none` as dB. Raises CorpusError."""
    if text.strip().lower() == NONE:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise CorpusError(f"noise {text!r}: give dB of speech over noise, such as 15, or none") from error


def _print(made: "Simulation", out: Path) -> None:
    console = screen()
    people = sum(len(each) for each in made.people.values())
    say(f"{people} people in {made.voices.name}: {made.voices.found}", console)
    table = Table(words("split"), "people", "recordings", "minutes", "speech", "overlap %")
    for split, members in made.people.items():
        own = [one for one in made.recordings if one.split == split]
        speech = sum(one.conversation.speech for one in own)
        overlap = sum(one.conversation.overlap for one in own)
        minutes = sum(one.duration for one in own) / 60
        table.add(
            split, str(len(members)), str(len(own)), f"{minutes:.1f}", f"{speech / 60_000:.1f}",
            f"{100 * overlap / speech:.1f}" if speech else "",
        )  # fmt: skip
    print_table(table, console)
    if made.rounds > 1:
        say(f"caveat: somebody has too little speech: all of it is used up to {made.rounds} times", console)
    if len(made.people) < len(("eval", "train", "calib")):
        say(f"caveat: too few people or recordings for other splits than {', '.join(made.people)}", console)
    say(f"in {out}", console)
