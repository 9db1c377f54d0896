"""ONNX Runtime on a CPU, without torch."""

from pathlib import Path

import onnxruntime

OPSET = 17
IR_VERSION = 8  # of that opset; newer ones shut out older runtimes


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
