"""diart 0.9.2's pipeline in an environment of its own (tests/benchmarks/diart_env.py), driven over a pipe.

Run by tests/benchmarks/diart.py as `PYTHON -P diart_peer.py`, with one JSON object a line. The first says what to run
with (`Settings`); it is answered by the versions found. Each other is `{"system": NAME, "wavs": {uri: path}}` and is
answered by `{uri: {"seconds": …, "audio": …, "until": …, "updates": …, "turns": [[start, end, speaker], …]}}`, or by
`{"error": …}`. What diart prints goes to standard error. Nothing of this project is imported.

What is diart's: all of it, from the WAV file on, as its own Benchmark runs one file: audio in blocks of C, windows of
10 s, segmentation, embedding, clustering, aggregation, accumulated labels. All of that is timed. What is not:

- pyannote.audio 3.3.2 and torchaudio beside a torch of today (`stand_ins`);
- the embedding model, CAM++, which pyannote.audio does not have: torchaudio's own Kaldi filterbank, less its mean over
  the window, the network as the project exported it, pyannote.audio's statistics pooling, one affine map (`Voices`);
- `once`: diart sends a window to the embedding once per local speaker, and the repetition can be removed (`Once`);
- `onnx`: both models in ONNX Runtime instead of torch, the same files that the project runs.
"""

import io
import json
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SAMPLE_RATE = 16_000
WINDOW = 10.0  # seconds: what segmentation-3.0 was trained with
BINS = 80


@dataclass(frozen=True)
class System:
    """A way to run diart. batch: windows at once. once: a window goes through the embedding once. onnx: runtime of both
    models."""

    name: str
    batch: int = 1
    once: bool = False
    onnx: bool = False


@dataclass(frozen=True)
class Settings:
    """What is run, and with what. Models are paths: segmentation, a pyannote.audio checkpoint; frames, CAM++ up to its
    features, from torch.export; affine, what follows its pooling; the others ONNX. chunk_length, right_context:
    seconds, diart's step and latency - step."""

    chunk_length: float
    right_context: float
    tau_active: float
    rho_update: float
    delta_new: float
    threads: int
    segmentation: str
    frames: str
    affine: str
    segmentation_onnx: str
    frames_onnx: str


class Voices:
    """CAM++ as diart takes an embedding model: waveforms (N, 1, samples) and weights (N, frames) → (N, dimension).

    network: (N, fbank frames, 80) → (N, channels, frames). fbank: (1, samples) → (fbank frames, 80). pool: statistics.
    weight, bias: the affine map that follows.
    """

    def __init__(
        self,
        fbank: Callable[[torch.Tensor], torch.Tensor],
        network: Callable[[torch.Tensor], torch.Tensor],
        pool: Callable[..., torch.Tensor],
        weight: torch.Tensor,
        bias: torch.Tensor,
    ):
        self._fbank, self._network, self._pool = fbank, network, pool
        self._weight, self._bias = weight, bias

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(N, 1, samples) → (N, channels, frames)."""
        fbank = torch.stack([self._fbank(waveform) for waveform in waveforms])
        return self._network(fbank - fbank.mean(dim=1, keepdim=True))

    def embed(self, frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(N, channels, frames) → (N, dimension), or (N, speakers, dimension) where the weights are of speakers."""
        return torch.nn.functional.linear(self._pool(frames, weights=weights), self._weight, self._bias)

    def to(self, device: torch.device) -> "Voices":
        """Nowhere else: diart asks every model."""
        return self

    def __call__(self, waveforms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """diart's own use of it."""
        return self.embed(self.frames(waveforms), weights)


@dataclass(frozen=True)
class Once:
    """In the place of diart's SpeakerEmbedding: a window's features are made once, and pooled for each speaker."""

    voices: Voices

    @torch.no_grad()
    def __call__(self, waveform: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(N, samples, 1), (N, frames, speakers) → (N, speakers, dimension), less N where it is 1, as diart has it."""
        frames = self.voices.frames(waveform.float().transpose(1, 2))
        return self.voices.embed(frames, weights.transpose(1, 2)).squeeze()


class Multilabel:
    """A powerset segmentation model in ONNX Runtime: (N, 1, samples) → (N, frames, speakers), 0 or 1."""

    def __init__(self, session: Any, powerset: Callable[[torch.Tensor], torch.Tensor]):
        self._session, self._powerset = session, powerset

    def to(self, device: torch.device) -> "Multilabel":
        """As Voices."""
        return self

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """As diart's PowersetAdapter."""
        return self._powerset(_run(self._session, waveforms))


def _run(session: Any, values: torch.Tensor, output: int = 0) -> torch.Tensor:
    (entering,), leaving = session.get_inputs(), session.get_outputs()[output].name
    return torch.from_numpy(session.run([leaving], {entering.name: values.numpy()})[0])


def kaldi_fbank(waveform: torch.Tensor) -> torch.Tensor:
    """What CAM++ was trained with: (1, samples) → (fbank frames, 80)."""
    from torchaudio.compliance import kaldi

    return kaldi.fbank(waveform, num_mel_bins=BINS, sample_frequency=SAMPLE_RATE, dither=0.0)


class Pipelines:
    """diart's pipelines, one for each system, ready to run."""

    def __init__(self, settings: Settings):
        torch.set_num_threads(settings.threads)
        stand_ins()
        self._settings = settings
        self._known: dict[System, Any] = {}

    def run(self, system: System, wavs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Diarize each recording, one after the other. Raises RuntimeError where diart failed, or did not go on to the
        end of the recording: it prints a failure and hands out what it has so far."""
        pipeline = self._pipeline(system)  # to load is not timed
        return {uri: self._diarize(pipeline, system.batch, uri, Path(path)) for uri, path in wavs.items()}

    def _diarize(self, pipeline: Any, batch: int, uri: str, wav: Path) -> dict[str, Any]:
        """As diart's Benchmark.run_single, and what its Benchmark does between two files."""
        from diart.inference import StreamingInference
        from diart.sources import FileAudioSource

        ends: list[float] = []
        errors: list[BaseException] = []

        class Watched(StreamingInference):
            def _handle_error(self, error: BaseException) -> None:
                errors.append(error)
                super()._handle_error(error)

        start = time.perf_counter()
        pipeline.reset()
        padding = pipeline.config.get_file_padding(wav)
        source = FileAudioSource(wav, pipeline.config.sample_rate, padding, pipeline.config.step)
        pipeline.set_timestamp_shift(-padding[0])
        inference = Watched(pipeline, source, batch, do_profile=False, do_plot=False, show_progress=False)
        inference.attach_hooks(lambda emitted: ends.append(emitted[1].extent.end))
        prediction = inference()
        seconds = time.perf_counter() - start

        audio = source.duration - sum(padding)
        # where the last window's block ends: what comes after the recording was emitted is silence that diart added
        until = ends[-1] - padding[0] if ends else 0.0
        refuse_unfinished(uri, until, audio, errors)
        turns = [[turn.start, turn.end, str(who)] for turn, _, who in prediction.itertracks(yield_label=True)]
        return {"seconds": seconds, "audio": audio, "until": until, "updates": len(ends), "turns": turns}

    def _pipeline(self, system: System) -> Any:
        if system not in self._known:
            self._known[system] = self._build(system)
        return self._known[system]

    def _build(self, system: System) -> Any:
        from diart import SpeakerDiarization, SpeakerDiarizationConfig
        from diart.models import EmbeddingModel, SegmentationModel

        settings, voices = self._settings, self._voices(system.onnx)
        config = SpeakerDiarizationConfig(
            segmentation=(
                SegmentationModel(self._multilabel)
                if system.onnx
                else SegmentationModel.from_pretrained(Path(settings.segmentation), use_hf_token=None)
            ),
            embedding=EmbeddingModel(lambda: voices),
            duration=WINDOW,
            step=settings.chunk_length,
            latency=settings.chunk_length + settings.right_context,
            tau_active=settings.tau_active,
            rho_update=settings.rho_update,
            delta_new=settings.delta_new,
            device=torch.device("cpu"),
        )
        pipeline = SpeakerDiarization(config)
        if system.once:
            pipeline.embedding.embedding = Once(voices)
        return pipeline

    def _voices(self, onnx: bool) -> Voices:
        from pyannote.audio.models.blocks.pooling import StatsPool

        network: Callable[[torch.Tensor], torch.Tensor]
        if onnx:
            session = self._session(self._settings.frames_onnx)
            features = [output.name for output in session.get_outputs()].index("features")

            def network(fbank: torch.Tensor) -> torch.Tensor:
                return _run(session, fbank, features)
        else:
            network = torch.export.load(self._settings.frames).module()
        with np.load(self._settings.affine) as affine:
            weight, bias = torch.from_numpy(affine["weight"]), torch.from_numpy(affine["bias"])
        return Voices(kaldi_fbank, network, StatsPool(), weight, bias)

    def _multilabel(self) -> Multilabel:
        from pyannote.audio.utils.powerset import Powerset

        return Multilabel(self._session(self._settings.segmentation_onnx), Powerset(3, 2).to_multilabel)

    def _session(self, path: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()  # as objectives/backends/onnxruntime.py has them
        options.intra_op_num_threads, options.inter_op_num_threads = self._settings.threads, 1
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def refuse_unfinished(uri: str, until: float, audio: float, errors: list[BaseException]) -> None:
    """Raise RuntimeError unless labels were emitted up to the end of the recording (seconds) without an error."""
    if errors:
        raise RuntimeError(f"{uri}: diart failed after {until:g} of {audio:g} s: {errors[0]!r}") from errors[0]
    if until < audio - 1 / SAMPLE_RATE:
        raise RuntimeError(f"{uri}: diart emitted labels up to {until:g} of {audio:g} s only")


def stand_ins() -> None:
    """What pyannote.audio 3.3.2 and diart 0.9.2 ask of other packages and these no longer have, or cannot load here."""
    try:
        import sounddevice  # noqa: F401 — wants PortAudio, for microphones
    except OSError:
        sys.modules["sounddevice"] = types.ModuleType("sounddevice")
    if torch.version.cuda is None:  # torchaudio's extension links CUDA; nothing that is used here needs it
        extension = types.ModuleType("torchaudio._extension")
        vars(extension).update(
            __path__=[],
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            fail_if_no_align=lambda function: function,
        )
        sys.modules["torchaudio._extension"] = extension
    import soundfile
    import torchaudio

    def load(path: Path) -> tuple[torch.Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), rate

    def info(path: Path) -> types.SimpleNamespace:
        told = soundfile.info(path)
        return types.SimpleNamespace(num_frames=told.frames, sample_rate=told.samplerate)

    streams = types.ModuleType("torchaudio.io")
    vars(streams).update(StreamReader=object)  # for microphones too
    sys.modules["torchaudio.io"] = streams
    vars(torchaudio).update(
        load=load,
        info=info,
        AudioMetaData=types.SimpleNamespace,
        list_audio_backends=lambda: ["soundfile"],
        set_audio_backend=lambda name: None,
    )


def trust_pyannote() -> None:
    """The checkpoint holds these beside tensors; whoever wrote it checked what file it is."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    torch.serialization.add_safe_globals([Problem, Resolution, Specifications, torch.torch_version.TorchVersion])


def found() -> dict[str, str]:
    """Versions of what decides labels and times."""
    from importlib.metadata import version

    return {name: version(name) for name in ("diart", "pyannote.audio", "torch", "torchaudio", "onnxruntime", "numpy")}


def main() -> None:
    """Answer until standard input closes."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")  # pooling says at every window that weights have another frame rate
    answers = io.TextIOWrapper(answers.buffer, line_buffering=True)
    pipelines: Pipelines | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if pipelines is None:
            answer: Mapping[str, Any] = found()
            pipelines = Pipelines(Settings(**asked))
            trust_pyannote()
        else:
            try:
                answer = pipelines.run(System(**asked["system"]), asked["wavs"])
            except RuntimeError as error:
                answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
