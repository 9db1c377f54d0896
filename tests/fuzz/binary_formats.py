"""Formats that native code decodes: audio, checkpoints, weights, ONNX files. Each is loaded in another process."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from explorer.bundle.bundle import EMBEDDING, MODEL, POINT, PROJECTION, FilePart, describe_file, read_bundle
from objectives.corpora.audio.inspection import probe_duration
from objectives.corpora.audio.reading import audio_pieces
from objectives.models.contract import SAMPLE_RATE
from tests.explorer.bundle.test_bundle import SOUND
from tests.fuzz.cases import Format
from tests.fuzz.mutation import damaged
from tests.support.corpora import encode_audio, tone

RUN = (MODEL, EMBEDDING, PROJECTION)


def _audio(name: str, codec: str = "", subtype: str = "") -> Format:
    def prepare(folder: Path) -> bytes:
        path = folder / f"whole{Path(name).suffix}"
        if path.suffix == ".ogg":
            soundfile.write(path, tone(1.5), SAMPLE_RATE, format="OGG", subtype="VORBIS")
        elif codec:
            encode_audio(path, tone(1.5, 16_000), 16_000, codec)
        else:
            soundfile.write(path, np.stack([tone(1.0), tone(1.0, frequency=300.0)], 1), SAMPLE_RATE, subtype=subtype)
        return path.read_bytes()

    return Format(name, Path(name).suffix, prepare, _spoiled, _hear, native=True)


def _spoiled(prepared: Any, draw: random.Random) -> bytes:
    return damaged(prepared, draw)


def _hear(_: object, path: Path) -> None:
    duration = probe_duration(path)
    assert duration > 0
    heard = 0
    for piece in audio_pieces(path, duration):
        assert piece.dtype == np.float32
        assert np.isfinite(piece).all()
        heard += len(piece)
    assert heard == round(duration * SAMPLE_RATE)


@dataclass(frozen=True)
class _Model:
    """A valid file, and the folder of a whole bundle that it may be put into."""

    content: bytes
    folder: Path | None = None
    told: dict[str, Any] | None = None


def _of_model(prepared: Any, draw: random.Random) -> bytes:
    # a pickle or a header of JSON lies first, and the list of an archive's members last
    return damaged(prepared.content, draw, head=draw.choice((64, 512, 4096)))


def _checkpoint(folder: Path) -> _Model:
    import torch

    from objectives.cache.assets import fetch
    from objectives.compression.compressor import save_checkpoint
    from tests.support.networks import small_network

    network = small_network(hidden=2, layers=1, width=2)
    whole = torch.load(fetch("segmentation-3.0"), map_location="cpu", weights_only=False)
    whole["state_dict"] = network.state_dict()
    whole["hyper_parameters"] = {name: dict(network.hparams[name]) for name in ("sincnet", "lstm", "linear")}
    kept = ("state_dict", "hyper_parameters", "pyannote.audio", "pytorch-lightning_version")
    save_checkpoint({name: whole[name] for name in kept}, folder / "whole.bin")
    _load_checkpoint(None, folder / "whole.bin")
    return _Model((folder / "whole.bin").read_bytes())


def _load_checkpoint(_: object, path: Path) -> None:
    from objectives.models.segmentation import contract_of, load_segmentation

    contract = contract_of(load_segmentation(path))
    assert contract.frames > 0
    assert contract.window >= 10 * SAMPLE_RATE


def _low_bit(folder: Path) -> _Model:
    from objectives.compression.low_bit import observe_ranges, quantize, save
    from objectives.compression.settings import QuantizationOptions
    from tests.support.networks import random_features, small_network

    network = small_network(hidden=2, layers=1, width=2)
    save(quantize(network, 4, QuantizationOptions(), observe_ranges(network, random_features(2))), folder / "whole.bin")
    _load_low_bit(None, folder / "whole.bin")
    return _Model((folder / "whole.bin").read_bytes())


def _load_low_bit(_: object, path: Path) -> None:
    from objectives.compression.low_bit import load

    load(path)


def _frames() -> Any:
    """A network from (N, T, 80) to (N, 4, T / 2)."""
    import torch

    class Frames(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv1d(80, 4, 3, stride=2, padding=1)

        def forward(self, fbank: torch.Tensor) -> torch.Tensor:
            return self.convolution(fbank.transpose(1, 2))

    return Frames().eval()


def _bundle(name: str) -> Any:
    def prepare(folder: Path) -> _Model:
        """A bundle of tiny networks that runs."""
        import onnx
        import torch
        from safetensors.numpy import save_file

        from objectives.backends.onnx_export import trace
        from objectives.models.embedding_onnx import CAMPPLUS_CARD, write_embedding_onnx
        from objectives.models.segmentation import contract_of
        from objectives.models.sherpa_metadata import segmentation_metadata
        from tests.support.networks import small_network

        folder = folder / "bundle"
        folder.mkdir()
        network = small_network(hidden=2, layers=1, width=2)
        contract = contract_of(network)
        trace(
            network,
            torch.zeros(1, 1, contract.window),
            folder / MODEL,
            {"x": {0: "N", 2: "T"}},
            {"y": {0: "N", 1: "f"}},
        )
        written = onnx.load(folder / MODEL)
        onnx.helper.set_model_props(written, segmentation_metadata(contract))
        onnx.save(written, folder / MODEL)
        frames = _frames()
        affine = (torch.randn(3, 8), torch.randn(3))
        write_embedding_onnx(folder / EMBEDDING, frames, affine, CAMPPLUS_CARD)
        save_file({"weight": affine[0].numpy(), "bias": affine[1].numpy()}, folder / PROJECTION)
        parts = {field: getattr(contract, field) for field in SOUND["segmentation"] if field != "execution"}
        told = SOUND | {"segmentation": parts | {"execution": "native"}}
        prepared = _Model((folder / name).read_bytes(), folder, told)
        _run_bundle(name)(prepared, folder / name)
        return prepared

    return prepare


def _run_bundle(name: str) -> Any:
    def load(prepared: Any, path: Path) -> None:
        """What `explorer diarize` does before it hears anything, and a first window; hashes agree with the damage."""
        content = path.read_bytes()
        (prepared.folder / name).write_bytes(content)
        files = {
            each: FilePart.model_dump(describe_file(prepared.folder / each)) for each in (MODEL, EMBEDDING, PROJECTION)
        }
        (prepared.folder / POINT).write_text(json.dumps(prepared.told | {"files": files}))
        bundle = read_bundle(prepared.folder)
        if name == MODEL:
            bundle.runtime()
        else:
            embedding = bundle.embedding()
            embedding.pool(embedding.of(tone(1.0)))

    return load


BINARY_FORMATS = (
    _audio("audio 16-bit.wav", subtype="PCM_16"),
    _audio("audio float.wav", subtype="FLOAT"),
    _audio("audio.flac", subtype="PCM_16"),
    _audio("audio.aiff", subtype="PCM_24"),
    _audio("audio.m4a", codec="aac"),
    _audio("audio.mp3", codec="libmp3lame"),
    _audio("audio.opus", codec="libopus"),
    _audio("audio.ogg"),
    Format("checkpoint.bin", ".bin", _checkpoint, _of_model, _load_checkpoint, native=True),
    Format("low-bit.safetensors", ".safetensors", _low_bit, _of_model, _load_low_bit, native=True),
    *(
        Format(
            f"bundle {name}",
            Path(name).suffix,
            _bundle(name),
            _of_model,
            _run_bundle(name),
            speaks_of=name,
            native=True,
        )
        for name in RUN
    ),
)
