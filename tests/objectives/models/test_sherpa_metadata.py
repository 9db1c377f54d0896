"""What sherpa-onnx would end the process for is refused with a message."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from objectives.errors import ModelError
from objectives.models.contract import Contract
from objectives.models.sherpa_metadata import Kind, check_metadata, metadata_in, segmentation_metadata

SEGMENTATION = segmentation_metadata(Contract(160_000, 589, 991, 495, 270, 3, 2), 16_000)
EMBEDDING = {
    "framework": "3d-speaker",
    "language": "Chinese",
    "sample_rate": "16000",
    "output_dim": "192",
    "normalize_samples": "1",
    "feature_normalize_type": "global-mean",
}


def file_with(path: Path, metadata: dict[str, str]) -> Path:
    """An ONNX file that passes its input on."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", ends[:1], ends[1:])
    model = helper.make_model(graph)
    onnx.helper.set_model_props(model, {"left": "over"})
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_the_seven_numbers_are_those_of_segmentation_3() -> None:
    assert SEGMENTATION == {
        "sample_rate": "16000",
        "window_size": "160000",
        "receptive_field_size": "991",
        "receptive_field_shift": "270",
        "num_speakers": "3",
        "powerset_max_classes": "2",
        "num_classes": "7",
        "model_type": "pyannote-segmentation-3.0",
        "version": "1",
    }


@pytest.mark.parametrize(("kind", "metadata"), [("segmentation", SEGMENTATION), ("embedding", EMBEDDING)])
def test_what_is_written_is_found(tmp_path: Path, kind: Kind, metadata: dict[str, str]) -> None:
    path = file_with(tmp_path / "model.onnx", metadata)
    assert check_metadata(path, kind) == metadata_in(path) == metadata


@pytest.mark.parametrize("name", [*SEGMENTATION][:7])
def test_a_missing_entry_is_named(tmp_path: Path, name: str) -> None:
    path = file_with(tmp_path / "model.onnx", {key: value for key, value in SEGMENTATION.items() if key != name})
    with pytest.raises(ModelError, match=rf"model\.onnx: its metadata lacks {name}, without which .*export it again"):
        check_metadata(path)


def test_all_missing_entries_are_named(tmp_path: Path) -> None:
    path = file_with(tmp_path / "model.onnx", {"sample_rate": "16000"})
    with pytest.raises(ModelError) as refused:
        check_metadata(path)
    assert all(name in str(refused.value) for name in [*SEGMENTATION][1:7])
    assert "sample_rate" not in str(refused.value)
    with pytest.raises(ModelError, match="lacks output_dim, normalize_samples, language, framework,"):
        check_metadata(path, "embedding")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("segmentation", "num_classes", "seven"),
        ("segmentation", "window_size", "-1"),
        ("embedding", "output_dim", "1.5"),
        ("embedding", "framework", "nemo"),
        ("embedding", "feature_normalize_type", "per_feature"),
    ],
)
def test_an_entry_that_cannot_be_used_is_shown(tmp_path: Path, kind: Kind, name: str, value: str) -> None:
    metadata = {**(SEGMENTATION if kind == "segmentation" else EMBEDDING), name: value}
    with pytest.raises(ModelError, match=f"cannot use {name} = '{value}'"):
        check_metadata(file_with(tmp_path / "model.onnx", metadata), kind)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff noise")
    for name in ("model.onnx", "missing.onnx"):
        with pytest.raises(ModelError, match=rf"{name}: not readable as ONNX"):
            check_metadata(tmp_path / name)


def test_metadata_and_sessions_need_no_torch() -> None:
    code = (
        "import sys, objectives.backends.onnxruntime, "
        "objectives.models.sherpa_metadata; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
