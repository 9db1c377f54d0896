"""The metadata that sherpa-onnx reads from an ONNX file, and a check of them: a missing key ends its process.

The keys are those of its loaders (`offline-speaker-segmentation-pyannote-model.cc`,
`speaker-embedding-extractor-model.cc`) and of its export scripts. Needs no torch.
"""

from pathlib import Path
from typing import Literal

from objectives.errors import ModelError
from objectives.models.contract import Contract

Kind = Literal["segmentation", "embedding"]

SEGMENTATION_NUMBERS = (
    "sample_rate",
    "window_size",
    "receptive_field_size",
    "receptive_field_shift",
    "num_speakers",
    "powerset_max_classes",
    "num_classes",
)
EMBEDDING_NUMBERS = ("output_dim", "sample_rate", "normalize_samples")
EMBEDDING_TEXTS = ("language", "framework")
FRAMEWORKS = ("wespeaker", "3d-speaker")  # frameworks whose models sherpa-onnx runs in the same way as this project
NORMALIZATION = "global-mean"  # subtract the mean over the input; the only one that sherpa-onnx supports


def segmentation_metadata(contract: Contract, sample_rate: int) -> dict[str, str]:
    """Return the metadata that sherpa-onnx needs for a segmentation model. Lengths are in samples."""
    numbers = (
        sample_rate,
        contract.window,
        contract.field,
        contract.step,
        contract.speakers,
        contract.max_at_once,
        len(contract.powerset),
    )
    entries = {name: str(number) for name, number in zip(SEGMENTATION_NUMBERS, numbers, strict=True)}
    return {**entries, "model_type": "pyannote-segmentation-3.0", "version": "1"}


def metadata_in(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file. Raises ModelError if it is not an ONNX file."""
    import onnx  # here, since a deployed operating point runs without it
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path}: not readable as ONNX ({error}): export it again") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def check_metadata(path: Path, kind: Kind = "segmentation") -> dict[str, str]:
    """Return the metadata of a file, if sherpa-onnx can load it as a model of that kind.

    Raises ModelError, naming every entry that is missing or cannot be used, since sherpa-onnx would end the process.
    """
    found = metadata_in(path)
    numbers, texts = (SEGMENTATION_NUMBERS, ()) if kind == "segmentation" else (EMBEDDING_NUMBERS, EMBEDDING_TEXTS)
    missing = [name for name in (*numbers, *texts) if not found.get(name)]
    if missing:
        raise ModelError(
            f"{path}: its metadata lacks {', '.join(missing)}, without which sherpa-onnx ends: export it again"
        )
    wrong = [f"{name} = {found[name]!r}" for name in numbers if not found[name].isdecimal()]
    if kind == "embedding":
        wrong += [f"framework = {found['framework']!r}"] * (found["framework"] not in FRAMEWORKS)
        normalization = found.get("feature_normalize_type", "")
        wrong += [f"feature_normalize_type = {normalization!r}"] * (normalization not in ("", NORMALIZATION))
    if wrong:
        raise ModelError(f"{path}: sherpa-onnx cannot use {', '.join(wrong)} of its metadata: export it again")
    return found
