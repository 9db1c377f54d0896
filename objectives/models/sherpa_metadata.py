"""What sherpa-onnx reads in an ONNX file besides the graph, and a check of it: a key that is missing ends its process.

The keys are those of its loaders (`offline-speaker-segmentation-pyannote-model.cc`,
`speaker-embedding-extractor-model.cc`) and of its export scripts. Needs no torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from objectives.errors import ModelError
from objectives.models.contract import Contract

if TYPE_CHECKING:  # a deployed point runs where onnx is not installed
    import onnx

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
FRAMEWORKS = ("wespeaker", "3d-speaker")  # whose models the extractor runs as this project's
NORMALIZATION = "global-mean"  # of the features over what is heard; the only one that sherpa-onnx knows


def segmentation_metadata(contract: Contract, sample_rate: int) -> dict[str, str]:
    """What sherpa-onnx must know of a segmentation model. Lengths in samples."""
    numbers = (
        sample_rate,
        contract.window,
        contract.field,
        contract.step,
        contract.speakers,
        contract.max_at_once,
        len(contract.powerset),
    )
    told = {name: str(number) for name, number in zip(SEGMENTATION_NUMBERS, numbers, strict=True)}
    return {**told, "model_type": "pyannote-segmentation-3.0", "version": "1"}


def set_metadata(model: "onnx.ModelProto", metadata: Mapping[str, str]) -> None:
    """Give a model these entries and no others."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def metadata_in(path: Path) -> dict[str, str]:
    """The entries of an ONNX file. Raises ModelError where it is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path}: not readable as ONNX ({error}): export it again") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def check_metadata(path: Path, kind: Kind = "segmentation") -> dict[str, str]:
    """The entries of a file that sherpa-onnx can load as a model of that kind.

    Raises ModelError, naming every entry that is missing or cannot be used: sherpa-onnx would end the process.
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
