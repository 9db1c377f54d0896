"""What ONNX Runtime makes of a file before it runs it, with the default options that sherpa-onnx has too."""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime


def as_run(path: Path) -> onnx.ModelProto:
    """The graph that runs: what depends on constants alone has been computed, and nodes have been fused."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".run.onnx"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each kind."""
    return Counter(node.op_type for node in model.graph.node)
