"""Telemetry of the libraries used here, off before any of them is imported: `objectives/__init__.py` runs this.

Recordings can be patients', so the user's environment cannot switch any of it on again, by mistake or by habit. Child
processes inherit the variables.
"""

import os
import sys
import warnings

OFF = {
    # 1.29 and later, to Microsoft: interpreter, machine, session, model; kept in ~/.cache/Microsoft until it is sent
    "ORT_DISABLE_TELEMETRY": "1",
    "PYANNOTE_METRICS_ENABLED": "0",  # to pyannoteAI: models, durations, numbers of speakers
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def switch_off() -> None:
    """Set the variables of OFF. Warns if ONNX Runtime, which reads its own once, has begun without it."""
    late = "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != OFF["ORT_DISABLE_TELEMETRY"]
    os.environ.update(OFF)
    if late:
        sys.modules["onnxruntime"].disable_telemetry_events()
        warnings.warn(
            "onnxruntime was imported before objectives, so it may already have queued a report of this process: "
            "import objectives first, or set ORT_DISABLE_TELEMETRY=1",
            stacklevel=2,
        )
