"""The accuracy plane: the errors of an operating point, recording by recording, as fast as the machine allows.

Whatever does not depend on the operating point is computed once: audio is decoded once per process, embedding features
are computed once per machine, and a window that another operating point has already used is not run again. Models run
ahead of the rest, on all cores: while one recording is clustered and scored, windows of the next ones are run. The
labels equal the real loop's.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from pyannote.core import Annotation

from objectives import machine
from objectives.cache.files import content_key, windows_dir
from objectives.corpora.corpus import Recording
from objectives.errors import CorpusError, EvaluationError
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.embedding_features import FeaturesOf, kept_window_features, recording_features
from objectives.models.windows import LocalSpeakers
from objectives.operating_point import OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import stream_batched
from objectives.streaming.offline import STEP_SAMPLES, diarize_offline, offline_ends
from objectives.streaming.schedule import Schedule

AUDIO_BYTES = 2**30  # decoded audio that a process keeps: 4.6 hours
REPORT_EVERY = 0.25  # seconds between two reports of progress
PORTION = 128  # windows run between two updates of the count

Counts = dict[str, ErrorCounts]
T = TypeVar("T")
KeepGoing = Callable[[Counts], bool]


@dataclass
class AccuracyPlane:
    """Computes the errors of operating points.

    lanes: number of recordings whose windows are run at once, each on its own core.
    """

    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    lanes: int
    # file and duration → waveform and digest, latest last. Not by URI, which another corpus may use as well
    _audio: dict[tuple[Path, float], tuple[np.ndarray, str]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def errors(
        self,
        recordings: Sequence[Recording],
        point: OperatingPoint,
        model_key: str,
        runtime: Runtime,
        on_progress: Callable[[float], None],
        keep_going: KeepGoing = lambda counts: True,
    ) -> Counts:
        """Return errors by recording, in the order given. Stops early if `keep_going` returns False for the errors so
        far.

        Raises EvaluationError, naming the recording, if one cannot be read.
        """
        counts: Counts = {}
        with closing(self.heard(recordings, point, model_key, runtime, on_progress)) as heard:
            for recording, windows in heard:
                counts[recording.uri] = self._counts(recording, point, windows)
                if not keep_going(counts):
                    break
        return counts

    def heard(
        self,
        recordings: Sequence[Recording],
        point: OperatingPoint,
        model_key: str,
        runtime: Runtime,
        on_progress: Callable[[float], None],
    ) -> Generator[tuple[Recording, WindowClasses], None, None]:
        """Yield the recordings in the order given, each once its windows have been run and its features computed.

        The next recordings are run meanwhile. Close the generator if it is not exhausted.

        Raises EvaluationError, naming the recording, if one cannot be read.
        """
        ends = {recording.uri: ends_of(point, recording, runtime.contract) for recording in recordings}
        tally = _Tally(sum(map(len, ends.values())), on_progress)

        def hear(recording: Recording) -> WindowClasses:
            with machine.working():
                try:
                    windows = self.windows(recording, model_key, runtime)
                    tally.run(windows, ends[recording.uri])
                    windows.keep()
                    if point.mode == "offline":
                        self.features_of_windows(recording, runtime.contract)
                    else:
                        self.features(recording)
                except (CorpusError, EvaluationError) as error:
                    raise EvaluationError(f"{recording.uri}: {error}") from error
                return windows

        with ThreadPoolExecutor(self.lanes, "windows") as pool:
            try:
                for recording, future in _ahead(pool, hear, recordings, self.lanes):
                    yield recording, tally.wait(future)
            finally:  # drop the tasks that were begun ahead
                tally.stopped = True
                pool.shutdown(wait=False, cancel_futures=True)

    def prepare(self, recordings: Sequence[Recording], on_progress: Callable[[float], None]) -> None:
        """Read recordings and compute their features for streaming, so that a recording with a fault is reported at
        once.

        Raises CorpusError.
        """

        def read(recording: Recording) -> None:
            with machine.working():
                self.features(recording)

        with ThreadPoolExecutor(self.lanes, "features") as pool:
            for done, (_, future) in enumerate(_ahead(pool, read, recordings, self.lanes), start=1):
                future.result()
                on_progress(done / len(recordings))

    def forget(self) -> None:
        """Drop the decoded audio from memory."""
        with self._guard:
            self._audio.clear()

    def windows(self, recording: Recording, model_key: str, runtime: Runtime) -> WindowClasses:
        """Return a recording's windows, as one model classifies them. Raises CorpusError if it cannot be read."""
        waveform, digest = self._waveform(recording)
        # kernels of another processor or version may break a tie differently
        name = content_key(samples=digest, kernel=runtime.kernel, processor=machine.processor())
        return WindowClasses(waveform, runtime, windows_dir(model_key) / f"{name}.npz")

    def features(self, recording: Recording) -> np.ndarray:
        """Return the features that streaming pools: (frames, channels). Raises CorpusError."""
        return recording_features(self.embedding, *self._waveform(recording))

    def features_of_windows(self, recording: Recording, contract: Contract) -> FeaturesOf:
        """Return the features that the offline mode pools, window by window. Raises CorpusError."""
        return kept_window_features(self.embedding, *self._waveform(recording), contract.window, STEP_SAMPLES)

    def _counts(self, recording: Recording, point: OperatingPoint, windows: WindowClasses) -> ErrorCounts:
        with machine.working():
            return score(recording.reference, self.labels(recording, point, windows), recording.annotated)

    def labels(
        self,
        recording: Recording,
        point: OperatingPoint,
        windows: LocalSpeakers,
        clustering: ClusteringSettings | None = None,
    ) -> Annotation:
        """Return who speaks when, according to an operating point. Raises CorpusError.

        clustering: settings to use instead of the plane's.
        """
        clustering = clustering or self.clustering
        if point.mode == "offline":
            features_of = self.features_of_windows(recording, windows.contract)
            return diarize_offline(windows, features_of, self.embedding, clustering)
        labels = stream_batched(windows, self.features(recording), point, self.embedding, clustering)
        return labels.annotation("recording")

    def _waveform(self, recording: Recording) -> tuple[np.ndarray, str]:
        key = recording.audio, recording.duration
        with self._guard:
            known = self._audio.pop(key, None)
        if known is None:
            waveform = recording.waveform()
            # hashed in place: a copy of three hours of audio takes 690 MB
            known = waveform, hashlib.sha256(waveform.data).hexdigest()
        with self._guard:
            self._audio[key] = known
            while sum(waveform.nbytes for waveform, _ in self._audio.values()) > AUDIO_BYTES and len(self._audio) > 1:
                del self._audio[next(iter(self._audio))]
        return known


class _Tally:
    """Counts windows as lanes run them, and reports progress from the thread that waits."""

    def __init__(self, total: int, on_progress: Callable[[float], None]):
        self._total, self._on_progress = total, on_progress
        self._done = 0
        self._guard = threading.Lock()
        self.stopped = False

    def run(self, windows: WindowClasses, ends: list[int]) -> None:
        for first in range(0, len(ends), PORTION):
            if self.stopped:
                return
            windows.ending_at(ends[first : first + PORTION])
            with self._guard:
                self._done += len(ends[first : first + PORTION])

    def wait(self, future: "Future[T]") -> T:
        while True:
            try:
                return future.result(REPORT_EVERY)
            except TimeoutError:
                pass
            finally:
                self._on_progress(self._done / self._total)


def ends_of(point: OperatingPoint, recording: Recording, contract: Contract) -> list[int]:
    """Return where the windows end that an operating point needs, without duplicates."""
    total = round(recording.duration * SAMPLE_RATE)
    if point.mode == "offline":
        return offline_ends(total, contract)
    schedule = Schedule(total, point.chunk_length, point.right_context)
    return list(dict.fromkeys(schedule.heard(update) for update in range(1, len(schedule) + 1)))


def _ahead(
    pool: ThreadPoolExecutor, task: Callable[[Recording], T], recordings: Sequence[Recording], ahead: int
) -> Iterator[tuple[Recording, "Future[T]"]]:
    """Yield recordings in order, with the tasks of the next `ahead` ones already submitted."""
    begun: deque[tuple[Recording, Future[T]]] = deque()
    for recording in recordings:
        begun.append((recording, pool.submit(task, recording)))
        if len(begun) > ahead:
            yield begun.popleft()
    yield from begun
