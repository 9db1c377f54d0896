"""`explorer measure`: one operating point outside any study."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from explorer.commands.options import (
    CorpusOption,
    DeviceOption,
    EmbeddingOption,
    FormatOption,
    SpeakersOption,
    TrustOption,
    print_as,
    speakers_of,
    trusted_files,
)
from explorer.terminal.corpus_remarks import print_remarks
from explorer.terminal.progress import progress
from explorer.terminal.screen import say
from explorer.terminal.tables import Table, names, print_table
from objectives.compression.settings import (
    CompressionSettings,
    Method,
    QuantizationOptions,
    RecoverySettings,
    SincnetPrecision,
)
from objectives.errors import OperatingPointError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import ErrorCounts, Measurement, Timing
from objectives.operating_point import (
    BASELINE,
    PRECISIONS,
    PRUNING_RATIO_RANGE,
    STRUCTURES,
    OnlineTracking,
    OperatingPoint,
    Precision,
    Pruning,
    Structure,
)


def measure(
    chunk_length: Annotated[float, typer.Option("--chunk-length", "-C", help="C in seconds.")] = BASELINE.chunk_length,
    right_context: Annotated[
        float, typer.Option("--right-context", "-R", help="R in seconds, 0 for none.")
    ] = BASELINE.right_context,
    pruning: Annotated[str, typer.Option(help=f"What is cut: {', '.join(STRUCTURES)}.")] = "none",
    ratio: Annotated[
        float, typer.Option(help=f"Share of the units that is cut, up to {PRUNING_RATIO_RANGE[1]:g}; with --pruning.")
    ] = 0.0,
    precision: Annotated[str, typer.Option(help=f"One of {', '.join(PRECISIONS)}.")] = BASELINE.precision,
    online: Annotated[
        bool, typer.Option("--online", help="Track speakers online: names are final when a block is emitted.")
    ] = False,
    min_duration_off: Annotated[
        float,
        typer.Option(help="With --online: seconds of pauses to wait for, on top of C + R.", min=0),
    ] = 0.0,
    offline: Annotated[
        bool, typer.Option("--offline", help="The offline mode: the released pipeline on whole recordings, no C and R.")
    ] = False,
    recovery: Annotated[
        Method | None, typer.Option(help="How a model is trained after pruning and in QAT. Default: distill.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps after pruning, all together.", min=0)] = None,
    qat_steps: Annotated[int | None, typer.Option(help="Training steps of the `_qat` precisions.", min=0)] = None,
    group_size: Annotated[
        int, typer.Option(help="4-bit weights of a row that share a multiplier of its scale; 0: the whole row.", min=0)
    ] = QuantizationOptions.group_size,
    sincnet: Annotated[
        SincnetPrecision, typer.Option(help="How low-bit models store SincNet's convolutions.")
    ] = "fp32",
    corpus: CorpusOption = "ami-excerpts",
    split: Annotated[str, typer.Option(help="Split to score, or `all`.")] = "eval",
    clustering_threshold: Annotated[
        float | None,
        typer.Option(help="Threshold of the speaker clustering. Default: none; offline, the embedding's own."),
    ] = None,
    speakers: SpeakersOption = None,
    segmentation: Annotated[
        str | None, typer.Option(help="A PyanNet checkpoint, or `medkit/simsamu-segmentation`.")
    ] = None,
    embedding: EmbeddingOption = None,
    trust: TrustOption = None,
    repeats: Annotated[int, typer.Option(help="How often to repeat the timing.", min=1)] = 3,
    device: DeviceOption = "cpu",
    format: FormatOption = "table",
) -> None:
    """Measure one operating point: DER with its components and by recording, size, and RTF beside the FP32 baseline.

    The time of an update and the share of each stage are compute time, which comes on top of the latency. Peak memory
    is that of the whole timing process, including libraries and all loaded models.

    A pruned or low-bit model is made first, from the corpus' *train* and *calib*, which takes minutes, and then kept.

        explorer measure -C 1 -R 0.5

        explorer measure --pruning hidden --ratio 0.4 --precision int8_ptq

        explorer measure -C 0.5 -R 0.5 --online --speakers 2

        explorer measure --offline --pruning linear --ratio 0.4 --recovery bce --steps 400

        explorer measure -C 0.5 -R 0.2 --corpus ./recordings --format json
    """
    if online and offline:
        raise OperatingPointError("--online and --offline are two modes: give one of them")
    point = OperatingPoint(
        chunk_length,
        right_context,
        pruning=Pruning(cast("Structure", pruning), ratio),
        precision=cast("Precision", precision),
        mode="online" if online else "offline" if offline else "chunk-wise",
        online=OnlineTracking(min_duration_off=min_duration_off),
    )
    changes = {"method": recovery, "steps": steps, "qat_steps": qat_steps}
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    settings = EvaluatorSettings(
        corpus=corpus,
        split=split,
        segmentation=segmentation,
        embedding=embedding,
        clustering_threshold=clustering_threshold,
        speakers=speakers_of(speakers),
        repeats=repeats,
        compression=CompressionSettings(
            recovery=RecoverySettings(**given),
            quantization=QuantizationOptions(group_size=group_size, sincnet=sincnet),
        ),
        device=device,
        trusted=trusted_files(trust),
    )
    # imported late, so that `explorer --help` does not load torch
    from objectives.evaluation.evaluator import build_evaluator

    with build_evaluator(settings) as evaluator, progress() as show:
        print_remarks(evaluator.remarks)
        evaluator.prepare(lambda fraction: show("reading the recordings", fraction))
        measurement = evaluator.measure(point, show)
    print_as(format, measurement, _print, _as_json)


def _rates(counts: ErrorCounts) -> dict[str, float | None]:
    """Return percentages; None if the collar leaves nothing to score."""
    seconds = {name: getattr(counts, name) for name in ("false_alarm", "missed_detection", "confusion")}
    rates = {"der": counts.seconds, **seconds}
    return {name: counts.percent(value) if counts.total else None for name, value in rates.items()} | {
        "scored_seconds": counts.total
    }


def _as_json(measurement: Measurement) -> dict[str, Any]:
    point, timing = measurement.operating_point, measurement.timing
    updates = timing.update_latency
    streamed = ("chunk_length", "right_context", "latency") if point.streamed else ()
    return {
        "mode": point.mode,
        **{name: getattr(point, name) for name in streamed},
        **({"online": asdict(point.online)} if point.mode == "online" else {}),
        "pruning": asdict(point.pruning),
        "precision": point.precision,
        "pooled": _rates(measurement.pooled),
        "recordings": {uri: _rates(errors) for uri, errors in measurement.counts.items()},
        "kept_units": dict(measurement.kept),
        "params": measurement.params,
        "size_mib": measurement.size_mib,
        "execution": measurement.execution,
        "kernel": measurement.kernel,
        "rtf": {
            "median": timing.median,
            "repeats": timing.rtf,
            "baseline_repeats": timing.baseline_rtf,
            "ratio_to_baseline": timing.ratio,
            "threads": timing.threads,
        },
        "update_latency": updates and asdict(updates),
        "stage_shares": timing.stage_shares,
        "peak_memory_mib": timing.peak_memory_mib,
        "model": {"key": measurement.model_key, "sha256": measurement.model_sha256, **measurement.story},
        "data": dict(measurement.data),
        "machine": dict(measurement.machine),
        "versions": dict(measurement.versions),
    }


def _print(measurement: Measurement, console: Console) -> None:
    table = Table(names("recording"), "DER %", "false alarm %", "missed %", "confusion %", "scored s")
    for uri, errors in [*measurement.counts.items(), ("pooled", measurement.pooled)]:
        cells = ["–" if value is None else f"{value:.2f}" for value in _rates(errors).values()]
        table.add(uri, *cells, style="bold" if uri == "pooled" else "")
    print_table(table, console)
    say(_sentence(measurement), console)
    say("; ".join(_where_time_goes(measurement.timing)), console)
    if measurement.kernel.startswith("torch "):
        say(f"DER: windows run by {measurement.kernel}; RTF is the CPU's", console)


def _sentence(measurement: Measurement) -> str:
    """Describe everything but the errors."""
    point, timing = measurement.operating_point, measurement.timing
    if point.mode == "offline":
        said = "offline mode"
    else:
        said = "speakers tracked online, " if point.mode == "online" else ""
        said += f"C {point.chunk_length:g} s, R {point.right_context:g} s, latency {point.latency:g} s"
    if point.pruning.structure != "none":
        units = ", ".join(f"{kept} {name}" for name, kept in measurement.kept.items())
        said += f", {point.pruning} (units kept: {units or 'not said'})"
    low, high = timing.spread
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    return (
        f"{said}, {point.precision} ({measurement.execution}): {measurement.params / 1e6:.2f} M parameters, "
        f"{measurement.size_mib:.2f} MiB, RTF {timing.median:.4f} [{low:.4f}–{high:.4f}] "
        f"over {len(timing.rtf)} repeats on {threads}, {timing.ratio:.2f} × the FP32 baseline's"
    )


def _where_time_goes(timing: Timing) -> Iterator[str]:
    """Describe the time of an update, the share of each stage and the memory, as far as they are known."""
    if (updates := timing.update_latency) is not None:
        middle, p95, p99 = (f"{1000 * seconds:.1f}" for seconds in (updates.median, updates.p95, updates.p99))
        yield f"an update takes {middle} ms (p95 {p95}, p99 {p99}, of {updates.updates})"
    if timing.stage_shares is not None:
        shares = (f"{stage} {100 * share:.1f} %" for stage, share in timing.stage_shares.items())
        yield f"compute: {', '.join(shares)}"
    if timing.peak_memory_mib is not None:
        yield f"peak memory of the process {timing.peak_memory_mib:.0f} MiB"
