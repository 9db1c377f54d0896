"""What a measurement is traced by: versions of packages, and what it was made of. Kept with every measurement."""

import functools
import importlib.metadata
import platform

# packages whose version changes what comes out: models, windows, features, labels, decoded audio or scores
PACKAGES = (
    "explorer", "torch", "torchao", "onnxruntime", "onnx", "numpy", "scipy", "pyannote.audio", "pyannote.core",
    "pyannote.metrics", "av", "soundfile",
)  # fmt: skip
ABSENT = "(absent)"

# Of an evaluator's identity: what the errors of a point are of. Those of others cannot be compared with them
DATA = ("corpus", "split", "segmentation", "embedding", "clustering", "tracking", "code")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide an answer, as they are installed here."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT
