"""What several tests of objectives/ share: real audio and real models, loaded once."""

import numpy as np
import pytest

from objectives.cache.assets import fetch
from objectives.corpora.sources import load_corpus
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.embedding_loading import load_embedding
from objectives.runtime.runtime import OnnxRuntime
from objectives.runtime.torch_runtime import open_runtime
from tests.support.networks import finish

THREADS = 2


@pytest.fixture(scope="session")
def excerpt() -> np.ndarray:
    """Audio of the AMI excerpt with the most speech: (samples,) float32 at 16 kHz, 30 s."""
    (recording,) = [one for one in load_corpus("ami-excerpts").split("eval") if one.uri == "tst00"]
    return recording.waveform()


@pytest.fixture(scope="session")
def runtime() -> OnnxRuntime:
    """segmentation-3.0 in FP32."""
    return open_runtime(finish(fetch("segmentation-3.0"), "fp32"), THREADS)


@pytest.fixture(scope="session")
def embedding() -> SpeakerEmbedding:
    """CAM++."""
    return load_embedding("campplus", THREADS)
