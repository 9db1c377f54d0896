"""Write the card of a bundle: what it is, how to run it, and what other programs do not support. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from explorer.bundle.bundle import CHECKPOINT, EMBEDDING, MODEL, POINT, PROJECTION, WEIGHTS, PointFile
from objectives.models.released_pipeline import MIN_DURATION_OFF

WHAT = {
    MODEL: "the segmentation model for ONNX Runtime and sherpa-onnx: `x` (N, 1, T) → `y` (N, frames, classes)",
    WEIGHTS: "its weights without a pickle",
    CHECKPOINT: "the same for stock pyannote.audio, which unpickles it: check the SHA-256 first",
    EMBEDDING: "the speaker embedding: `x` (N, T, 80), a log-mel filterbank → `embedding`, `features`",
    PROJECTION: "its last layer, for pooling by a speaker's activity",
}


def card(file: PointFile, name: str) -> str:
    """Return the card as Markdown. name: of the bundle's folder."""
    parts = (_title(file), _figures(file), _parity(file.parity), _run(file, name), _others(file), _files(file))
    return "\n\n".join(parts) + "\n"


def _title(file: PointFile) -> str:
    point, pruning, where = file.operating_point, file.operating_point.pruning, file.provenance
    cut = "unpruned" if pruning.structure == "none" else f"{pruning.structure} pruned by {100 * pruning.ratio:g} %"
    heard, short = "Offline: the whole recording is heard first.", "offline"
    if point.latency is not None:
        short = f"{point.latency:.3g} s"
        heard = (
            f"C = {point.chunk_length:.4g} s, R = {point.right_context:.4g} s, so an algorithmic latency of "
            f"{point.latency:.4g} s."
        )
    if point.online is not None:
        heard += " Speakers are tracked online: a name is final when its block is emitted."
    return (
        f"# Operating point: {point.precision}, {cut}, {short}\n\n"
        f"Streaming speaker diarization. {heard} Segmentation model {cut}, {point.precision}. From trial "
        f"{where['trial']} ({where['origin']}) of the study `{where['study']}`, exported {where['exported']}."
    )


def _figures(file: PointFile) -> str:
    measured = file.measured
    errors, spread, machine = measured["errors"], measured["rtf_spread"], measured["machine"]
    rows = [
        ("DER", f"{measured['der']:.2f} % (false alarm {errors['false_alarm']:.1f}, missed "
         f"{errors['missed_detection']:.1f}, confusion {errors['confusion']:.1f}; collar 0.5 s, overlap scored)"),
        ("on", f"{measured['recordings']} recordings, {errors['total_seconds']:.0f} s of scored speech, of "
         f"`{measured['corpus']}`, split `{measured['split']}`, by which it was chosen: that flatters it"),
        ("size", f"{measured['size_mib']:.3f} MiB, {measured['params'] / 1e6:.2f} M parameters"),
        ("RTF", f"{measured['rtf']:.4f} [{spread[0]:.4f}–{spread[1]:.4f}] on {measured['threads']} thread(s), "
         f"{measured['rtf_ratio']:.2f} × the FP32 baseline's of the same breath"
         + (" (emulated: no gain to claim)" if measured["execution"] == "emulated" else "")),
        ("data", f"`{file.provenance['data']}` (name, fingerprint)"),
        ("model", f"`{file.provenance['model_key']}`"),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
    ]  # fmt: skip
    return "## Measured\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows)


def _parity(parity: Mapping[str, Any]) -> str:
    return f"## Measured again from these files\n\n{parity_in_words(parity)}"


def _run(file: PointFile, name: str) -> str:
    if file.operating_point.latency is None:
        return (
            "## Run it\n\nAn offline point has no C and R, so `explorer diarize` cannot stream it: use stock "
            "pyannote.audio or sherpa-onnx, below."
        )
    return f"""## Run it

    explorer diarize call.wav --point {name} --rttm call.rttm
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | explorer diarize - --point {name} --pcm 16000

This is the only program here that keeps everything: C, R, the features in blocks of 2 s, {_names(file)}
and the closing of pauses of up to {MIN_DURATION_OFF:.3g} s."""


def _names(file: PointFile) -> str:
    online = file.operating_point.online
    if online is None:
        return f"the clustering\n(`{file.clustering.method}`, threshold {file.clustering.threshold:.4g})"
    settings = ", ".join(f"{name} {value:.4g}" for name, value in online.model_dump().items())
    return f"the tracking of speakers\n({settings})"


def _others(file: PointFile) -> str:
    stock = (
        f"""It loads the checkpoint as any PyanNet, for `SpeakerDiarization(segmentation=model, ...)`. R, C and
the clustering's settings are not in it.

```python
from pathlib import Path
from pyannote.audio import Model
model = Model.from_pretrained(Path("{CHECKPOINT}"))  # unpickles: check its SHA-256 first
```"""
        if CHECKPOINT in file.files
        else f"It has no form for {file.operating_point.precision} weights, so there is no checkpoint."
    )
    return f"""## Elsewhere

**sherpa-onnx** loads `{MODEL}` as `--segmentation.pyannote-model` and `{EMBEDDING}` as `--embedding.model`. It is
offline: C and R do not carry over (its windows are 10 s with a step of its own), nor does the clustering (it has its
own, whose threshold means another thing), nor how embeddings are pooled. Expect another DER than above.

**ONNX Runtime** from 1.29 on reports to its maker about each process. Set `ORT_DISABLE_TELEMETRY=1` before your program
imports it; `explorer` does that itself.

**stock pyannote.audio.** {stock}"""


def _files(file: PointFile) -> str:
    rows = [
        f"| `{name}` | {part.bytes / 2**20:.3f} | `{part.sha256}` | {file.licences[name]} | {WHAT[name]} |"
        for name, part in file.files.items()
        if name in WHAT
    ]
    table = "\n".join(["| file | MiB | SHA-256 | licence | |", "|---|---|---|---|---|", *rows])
    return f"## Files\n\n{table}\n\nAll settings, figures, hashes and versions are in `{POINT}`."


def parity_in_words(parity: Mapping[str, Any]) -> str:
    """Return how the bundle compares with its trial, in a few sentences."""
    text = (
        f"On the {parity['recordings']} recordings of the trial, model.onnx gives {100 * parity['agreement']:.2f} % of "
        f"the frames of {parity['windows']} windows the trial's class; DER {parity['der_bundle']:.2f} %, the trial's "
        f"{parity['der_trial']:.2f} %."
    )
    if parity["stock_agreement"] is not None:
        text += (
            f" Stock pyannote.audio, with the checkpoint, agrees with model.onnx on "
            f"{100 * parity['stock_agreement']:.2f} % of the frames of {parity['stock_windows']} windows."
        )
    if parity["live_seconds"] is not None:
        text += (
            f" The bundle's own loop gave the same turns as the batched evaluation on {parity['live_seconds']:.0f} s."
        )
    return text
