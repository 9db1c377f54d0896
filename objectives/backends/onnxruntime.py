"""ONNX Runtime sessions on a CPU. Does not import torch."""

from pathlib import Path

import onnxruntime

OPSET = 17
IR_VERSION = 8  # the lowest for that opset: older runtimes refuse newer versions


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX Runtime session on the CPU with that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
