"""The metadata that sherpa-onnx needs. That files have them is tested where they are written."""

import subprocess
import sys

from objectives.models.contract import Contract
from objectives.models.sherpa_metadata import segmentation_metadata

SEGMENTATION = segmentation_metadata(Contract(160_000, 589, 991, 495, 270, 3, 2))


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


def test_metadata_and_sessions_need_no_torch() -> None:
    code = (
        "import sys, objectives.backends.onnxruntime, "
        "objectives.models.sherpa_metadata; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
