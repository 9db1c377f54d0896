"""What sherpa-onnx needs of a file's metadata: a missing or useless entry ends its process."""

from pathlib import Path
from typing import Literal

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


def metadata_in(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file."""
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


def checked_metadata(path: Path, kind: Kind = "segmentation") -> dict[str, str]:
    """The metadata of a file that sherpa-onnx can load as a model of that kind, in the same way as this project."""
    found = metadata_in(path)
    for name in SEGMENTATION_NUMBERS if kind == "segmentation" else EMBEDDING_NUMBERS:
        assert found[name].isdecimal(), f"{name} = {found[name]!r}"
    if kind == "embedding":
        assert found["language"]
        assert found["framework"] in ("wespeaker", "3d-speaker")
        assert found["feature_normalize_type"] == "global-mean"
    return found
