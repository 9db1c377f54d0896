"""The single point of import for pyannote.audio, with the preparations that it needs.

Import pyannote.audio's names from this module, never from pyannote.audio itself (a test enforces it). pyannote.audio
imports torchaudio, whose only PyPI build links CUDA and raises OSError beside a CPU build of torch.
"""

import sys
import types
import warnings

import torch


def _stand_in_for_torchaudio_extension() -> None:
    """Make `import torchaudio` succeed beside a CPU build of torch.

    The parts used here (`compliance.kaldi` and `functional`) are pure Python and do not need the compiled extension. If
    the extension loads, beside CUDA or in a future CPU build, torchaudio is used as it is.
    """
    if torch.version.cuda is not None or "torchaudio" in sys.modules:
        return
    try:
        import torchaudio  # noqa: F401 — only to test whether it can be imported
    except OSError:
        # a failed import leaves half-initialised modules behind
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        vars(extension).update(
            __path__=[],
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            fail_if_no_align=lambda function: function,
        )
        sys.modules["torchaudio._extension"] = extension


_stand_in_for_torchaudio_extension()

with warnings.catch_warnings():
    # pyannote.audio warns that it found no FFmpeg; here audio is decoded by objectives/corpora/audio/reading.py
    warnings.simplefilter("ignore")
    from pyannote.audio import Inference as Inference
    from pyannote.audio import Model as Model
    from pyannote.audio.core.task import Problem as Problem
    from pyannote.audio.core.task import Resolution as Resolution
    from pyannote.audio.core.task import Specifications as Specifications
    from pyannote.audio.models.blocks.pooling import StatsPool as StatsPool
    from pyannote.audio.models.embedding import WeSpeakerResNet34 as WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet as PyanNet
    from pyannote.audio.pipelines.clustering import AgglomerativeClustering as AgglomerativeClustering
    from pyannote.audio.pipelines.speaker_diarization import SpeakerDiarization as SpeakerDiarization
    from pyannote.audio.utils.powerset import Powerset as Powerset
    from torchaudio.compliance import kaldi as kaldi
