"""What comes out of a corpus, to the last digit, for tests: `python -m tests.support.corpus_answers CORPUS`."""

import hashlib
import json
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch

from objectives.cache.files import cache_dir
from objectives.compression.settings import CompressionSettings, RecoverySettings
from objectives.evaluation.evaluator import build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import BASELINE, OperatingPoint, Pruning

# pruned, recovered and trained while it is quantized; at a C and R that fall on no grid
TRAINED = OperatingPoint(1.37, 0.123, Pruning("hidden", 0.4), "int8_qat")
SETTINGS = CompressionSettings(RecoverySettings(steps=3, qat_steps=2, windows=8), iterations=1)


def answers(corpus: Path, lanes: int) -> dict[str, Any]:
    """Models, sizes, errors and every file that was computed, as JSON brings them back."""
    with build_evaluator(
        EvaluatorSettings(corpus=str(corpus), compression=SETTINGS, accuracy_threads=lanes)
    ) as evaluator:
        told: dict[str, Any] = {"identity": dict(evaluator.identity)}
        for point in (BASELINE, TRAINED):
            model = evaluator.model(point)
            story = {key: value for key, value in model.story.items() if key != "build_seconds"}
            counts = {uri: astuple(one) for uri, one in evaluator.errors(point).items()}
            told[point.precision] = [model.key, model.sha256, model.size_bytes, model.params, story, counts]
    folders = ("features", "windows", "recovery")
    files = [path for name in folders for path in sorted((cache_dir() / name).rglob("*.*")) if path.suffix != ".lock"]
    told["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return json.loads(json.dumps(told))


if __name__ == "__main__":
    print(json.dumps({"threads": torch.get_num_threads(), **answers(Path(sys.argv[1]), lanes=2)}))
