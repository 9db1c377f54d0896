"""`explorer diarize`: run an exported operating point on a recording, or on live audio."""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import numpy as np
import typer

from explorer.atomic_files import descriptor_of, refuse_unwritable, write_whole, writing
from explorer.commands.options import SpeakersOption, TableOrJson, speakers_of
from explorer.terminal.screen import say, screen
from explorer.terminal.signals import exit_code
from explorer.terminal.streams import OUTPUT
from objectives.errors import CorpusError, OutputError

if TYPE_CHECKING:  # these import ONNX Runtime, which `explorer --help` should not load
    from explorer.bundle.bundle import Bundle
    from explorer.bundle.stream import Diarization, Spoken

STANDARD_INPUT = "-"


def diarize(
    audio: Annotated[str, typer.Argument(help="An audio file, or `-` for standard input, with --pcm.")],
    point: Annotated[Path, typer.Option("--point", help="The folder that `explorer export` wrote.")],
    rttm_file: Annotated[Path | None, typer.Option("--rttm", help="File to write the final turns to.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Play the file in real time, as a microphone would.")] = False,
    pcm: Annotated[
        int | None,
        typer.Option(
            help="Standard input is raw PCM at this rate in Hz: 16-bit little-endian, one channel.",
            min=4000,
            max=192_000,
        ),
    ] = None,
    track: Annotated[
        int | None,
        typer.Option(help="Use only this audio track of the file, from 1; by default all are mixed.", min=1),
    ] = None,
    speakers: SpeakersOption = None,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
    format: Annotated[
        TableOrJson,
        typer.Option(help="`table` for people; `json`: one object per line, the last one is the summary."),
    ] = "table",
) -> None:
    """Stream audio through an exported operating point, at its C and R, and print turns as they become known.

    A turn is printed after it has ended, at most the latency (C + R, plus the pauses that the online mode waits for)
    after its last word. Its times are final then; so is the speaker's name if the point tracks speakers online. In the
    chunk-wise mode the name is provisional until the whole recording has been heard and clustered. It is `unknown` if
    too little of the speaker was heard so far; if the turn goes on in the next block under a name, the whole turn gets
    that name. Final turns are written to --rttm. `--rttm /dev/stdout` writes them into a pipe, and standard error then
    shows the turns as they become known. RTF and latency are reported at the end.

    Needs ONNX Runtime, but neither torch nor Optuna. Ctrl-C, SIGTERM or a closed terminal (SIGHUP) end the audio there:
    what was heard is processed and written, and the exit code is 130, 143 or 129.

        explorer diarize call.wav --point points/best --rttm call.rttm

        explorer diarize call.wav --point points/best --live

        arecord -q -f S16_LE -r 16000 -c 1 -t raw | explorer diarize - --point points/best --pcm 16000
    """
    to_output = rttm_file is not None and descriptor_of(rttm_file) == OUTPUT
    _refuse_contradictions(audio, pcm, live, track)
    expected = speakers_of(speakers)
    if rttm_file is not None:
        _refuse_unwritable(rttm_file, to_output and format == "json")
    from explorer.bundle.audio_input import UntilInterrupted, pcm_pieces, played
    from explorer.bundle.bundle import read_bundle
    from explorer.bundle.stream import Listener, rttm
    from objectives.machine import one_blas_thread

    recording, remarks = _recording(Path(audio), track) if pcm is None else (iter(()), ())
    bundle = read_bundle(point)
    as_text = _as_json if format == "json" else _as_line
    printed = _Printed(sys.stderr if to_output else sys.stdout, goes_on=rttm_file is not None)
    listener = Listener(bundle, lambda turn: printed(as_text(turn)), threads, speakers=expected)
    for remark in remarks:
        say(f"{audio}: {remark}", screen(stderr=True))
    one_blas_thread()
    began = time.perf_counter() if live else None
    heard = pcm_pieces(_standard_input(), pcm) if pcm is not None else played(recording, began)
    with UntilInterrupted(heard) as pieces:
        for samples in pieces:
            listener.hear(samples, began)
        if pieces.interrupted is not None and not listener.has_heard:
            raise typer.Exit(exit_code(pieces.interrupted))  # nothing was heard, so there is nothing to write
        result = listener.end()
        summary = _summary(bundle, result) | {"remarks": remarks}
        if format == "json":  # before the file, which may no longer be writable: this has the turns too
            printed(json.dumps(summary))
        if rttm_file is not None:
            _write(rttm_file, rttm(result.turns, "recording" if pcm is not None else Path(audio).stem))
        if printed.lost is not None:
            raise printed.lost
        if format == "table":
            _print(summary, result, rttm_file)
        if pieces.interrupted is not None:
            raise typer.Exit(exit_code(pieces.interrupted))


def _refuse_contradictions(audio: str, pcm: int | None, live: bool, track: int | None) -> None:
    if (audio == STANDARD_INPUT) != (pcm is not None):
        raise CorpusError(
            f"{audio!r}: raw PCM comes from standard input and nothing else does: give `-` with --pcm RATE"
        )
    if live and pcm is not None:
        raise CorpusError("--live plays a file: standard input comes at its own speed, so leave --live out")
    if track is not None and pcm is not None:
        raise CorpusError("--track chooses a track of a file: raw PCM has no tracks, so leave --track out")


def _refuse_unwritable(rttm_file: Path, beside_json: bool) -> None:
    if not os.path.isdir(rttm_file.absolute().parent):
        raise CorpusError(f"{rttm_file}: the folder does not exist: create it, or give another --rttm")
    if os.path.isdir(rttm_file):
        raise CorpusError(f"{rttm_file} is a folder: give the name of a file as --rttm")
    if beside_json:
        raise CorpusError(f"--rttm {rttm_file} and --format json both write to standard output: give --rttm a file")
    with writing(rttm_file, CorpusError, "--rttm"):
        refuse_unwritable(rttm_file)


def _recording(path: Path, track: int | None) -> tuple[Iterator[np.ndarray], tuple[str, ...]]:
    """Open a file, decoded as it is heard, and return its audio and remarks on it. Raise at once for what is visibly
    wrong with it, and later for what shows only when it is reached."""
    # imported late, since PCM needs no decoder
    from objectives.corpora.audio.inspection import probe
    from objectives.corpora.audio.reading import audio_pieces

    # a pipe can be read once, and a decoder reads the beginning of a file twice; what is absent, the decoder reports
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise CorpusError(
            f"{path} is a pipe or a device, not a file: write raw PCM to standard input, `COMMAND | explorer diarize - "
            "--pcm RATE`, or save the audio and give that file"
        )
    file = probe(path, track)
    return audio_pieces(path, file.duration, track), file.remarks


def _standard_input() -> BufferedIOBase:
    if sys.stdin is None:
        raise CorpusError("standard input is closed: write raw PCM to it, or give a file")
    return cast(BufferedIOBase, sys.stdin.buffer)  # BinaryIO does not declare read1


def _write(path: Path, text: str) -> None:
    if descriptor_of(path) == OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        return
    with writing(path, CorpusError, "--rttm"):
        write_whole(path, text.encode())


class _Printed:
    """Print lines until the stream accepts no more.

    goes_on: keep the error in `lost` instead of raising it, because --rttm still wants the rest of the audio."""

    def __init__(self, stream: TextIO, goes_on: bool):
        self.lost: OutputError | None = None
        self._stream = stream
        self._goes_on = goes_on

    def __call__(self, line: str) -> None:
        try:
            if self.lost is None:
                print(line, file=self._stream, flush=True)
        except OutputError as error:
            if not self._goes_on:
                raise
            self.lost = error


def _as_line(turn: "Spoken") -> str:
    return f"{turn.start:9.2f} {turn.end:9.2f}  {turn.name}"


def _as_json(turn: "Spoken") -> str:
    return json.dumps({"turn": {**asdict(turn), "speaker": turn.name}})


def _summary(bundle: "Bundle", result: "Diarization") -> dict[str, Any]:
    point = bundle.point
    return {
        "turns": [{"start": turn.start, "end": turn.end, "speaker": turn.name} for turn in result.turns],
        "speakers": result.speakers,
        "audio": result.audio,
        "mode": point.mode,
        "rtf": result.rtf,
        "chunk_length": point.chunk_length,
        "right_context": point.right_context,
        "latency": point.latency,
        "execution": bundle.manifest.segmentation.execution,
        "update": _percentiles(result.updates),
        "clustering": result.clustering,
        "delay": _percentiles(result.delays),
    }


def _percentiles(seconds: tuple[float, ...]) -> dict[str, float] | None:
    if not seconds:
        return None
    median, p95, p99, most = np.percentile(seconds, (50, 95, 99, 100)).tolist()
    return {"median": median, "p95": p95, "p99": p99, "max": most}


def _print(summary: dict[str, Any], result: "Diarization", rttm_file: Path | None) -> None:
    """Print the summary on stderr: standard output holds turns and nothing else."""
    console = screen(stderr=True)
    update, delay = summary["update"], summary["delay"]
    heard = f"{_some(len(result.turns), 'turn')} of {_some(result.speakers, 'speaker')}"
    say(
        f"{result.audio:.1f} s, {heard}; RTF {result.rtf:.3f}"
        + (" (emulated precision)" if summary["execution"] == "emulated" else "")
        + f"; latency {summary['latency']:g} s, and an update takes {1000 * update['median']:.0f} ms "
        f"(p95 {1000 * update['p95']:.0f}, p99 {1000 * update['p99']:.0f})"
        + (f"; the last clustering {1000 * result.clustering:.0f} ms" if summary["mode"] == "chunk-wise" else ""),
        console,
    )
    if delay is not None:
        say(
            f"a block's first sample was spoken {delay['median']:.2f} s before its emission "
            f"(p95 {delay['p95']:.2f}, p99 {delay['p99']:.2f}, most {delay['max']:.2f})",
            console,
        )
    if rttm_file is not None:
        differ = "; names printed before may differ from these" if summary["mode"] == "chunk-wise" else ""
        say(f"final turns in {rttm_file}{differ}", console)


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
