"""A corpus of short real recordings on disk, for tests that measure, and timing processes that last."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyannote.core import Segment

import objectives.evaluation.evaluator
from objectives.corpora.sources import load_corpus
from objectives.evaluation.timing_process import CostSettings, Stopwatch
from objectives.models.contract import SAMPLE_RATE
from tests.support.corpora import rttm, write_audio

SECONDS = 12
EVAL = ("dev00", "tst00")
CALIB = "trn05"


def write_excerpts(folder: Path, test: Sequence[str] = (), train: Sequence[str] = (), seconds: float = SECONDS) -> Path:
    """The beginnings of AMI excerpts, audio + RTTM: two in split eval, one in calib, and those named in the others."""
    known = {recording.uri: recording for recording in load_corpus("ami-excerpts").split("all")}
    for uri in (*EVAL, CALIB, *test, *train):
        recording = known[uri]
        heard = recording.reference.crop(Segment(0, seconds), mode="intersection")
        turns = [(turn.start, turn.duration, str(who)) for turn, _, who in heard.itertracks(yield_label=True)]
        write_audio(folder / f"{uri}.wav", recording.waveform()[: round(seconds * SAMPLE_RATE)])
        (folder / f"{uri}.rttm").write_text(rttm(uri, turns))
    splits = {"eval": EVAL, "calib": [CALIB]}
    splits |= {name: uris for name, uris in (("test", test), ("train", train)) if uris}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


class _LastingStopwatch(Stopwatch):
    """One that outlives the evaluator which closes it: starting its process takes longer than most tests."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


@contextmanager
def lasting_stopwatches() -> Iterator[None]:
    """Evaluators built inside share a timing process where their cost settings are equal."""
    lasting: dict[tuple[object, ...], _LastingStopwatch] = {}

    def stopwatch(settings: CostSettings) -> Stopwatch:
        same = {name: value for name, value in vars(settings).items() if name not in ("waveform", "baseline")}
        key = (settings.waveform.tobytes(), settings.baseline.key, *same.values())
        return lasting.setdefault(key, _LastingStopwatch(settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives.evaluation.evaluator, "Stopwatch", stopwatch)
        yield
    for each in lasting.values():
        each.end()
