"""Switch off the telemetry of the libraries used here. `objectives/__init__.py` does so before any of them is imported.

Recordings may be of patients, so the variables are set even if the user's environment sets them otherwise. Child
processes inherit them.
"""

import os
import sys
import warnings

OFF = {
    # ONNX Runtime 1.29 and later queues reports to Microsoft in ~/.cache/Microsoft: machine, session, model, …
    "ORT_DISABLE_TELEMETRY": "1",
    "PYANNOTE_METRICS_ENABLED": "0",  # sends models, durations and numbers of speakers to pyannoteAI
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def switch_off() -> None:
    """Set the variables of OFF. Warns if ONNX Runtime, which reads its variable on import, was imported before."""
    late = "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != OFF["ORT_DISABLE_TELEMETRY"]
    os.environ.update(OFF)
    if late:
        sys.modules["onnxruntime"].disable_telemetry_events()
        warnings.warn(
            "onnxruntime was imported before objectives, so it may already have queued a report of this process: "
            "import objectives first, or set ORT_DISABLE_TELEMETRY=1",
            stacklevel=2,
        )
