"""sherpa-onnx in a process of its own: it ends the process where a file is not as it wants it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pyannote.core import Annotation, Segment

DIARIZE = """
import json, sys
import numpy as np
import sherpa_onnx as sherpa

segmentation, embedding, audio = sys.argv[1:]
pyannote = sherpa.OfflineSpeakerSegmentationPyannoteModelConfig(model=segmentation)
config = sherpa.OfflineSpeakerDiarizationConfig(
    segmentation=sherpa.OfflineSpeakerSegmentationModelConfig(pyannote=pyannote),
    embedding=sherpa.SpeakerEmbeddingExtractorConfig(model=embedding),
    clustering=sherpa.FastClusteringConfig(threshold=0.5),
    min_duration_on=0.0,
    min_duration_off=0.0,
)
turns = sherpa.OfflineSpeakerDiarization(config).process(np.load(audio)).sort_by_start_time()
print(json.dumps([(turn.start, turn.end, turn.speaker) for turn in turns]))
"""

EMBED = """
import json, sys
import numpy as np
import sherpa_onnx as sherpa

embedding, audio = sys.argv[1:]
extractor = sherpa.SpeakerEmbeddingExtractor(sherpa.SpeakerEmbeddingExtractorConfig(model=embedding))
stream = extractor.create_stream()
stream.accept_waveform(16_000, np.load(audio))
stream.input_finished()
print(json.dumps(extractor.compute(stream)))
"""


class Ended(Exception):
    """The process ended before it said anything."""


def diarize(segmentation: Path, embedding: Path, waveform: np.ndarray, folder: Path) -> Annotation:
    """Who speaks when, according to sherpa-onnx with its own settings, no turn or pause too short."""
    labels = Annotation()
    for index, (start, end, speaker) in enumerate(_told(DIARIZE, waveform, folder, segmentation, embedding)):
        labels[Segment(start, end), index] = str(speaker)
    return labels


def embed(embedding: Path, waveform: np.ndarray, folder: Path) -> np.ndarray:
    """(dimension,): of all that is heard, with the filterbank that sherpa-onnx makes."""
    return np.array(_told(EMBED, waveform, folder, embedding), np.float32)


def _told(code: str, waveform: np.ndarray, folder: Path, *files: Path) -> Any:
    np.save(folder / "audio.npy", waveform)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files), str(folder / "audio.npy")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise Ended(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
