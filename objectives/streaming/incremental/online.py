"""The online mode with thresholds: names come from comparing each voice with those heard before. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from objectives.errors import ModelError
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import Features, SpeakerEmbedding
from objectives.operating_point import OnlineTracking
from objectives.streaming.hypothesis import Hypothesis, Turn, Turns
from objectives.streaming.incremental.speaker_memory import Heard, SpeakerMemory
from objectives.streaming.provisional_labels import FinalNames
from objectives.streaming.schedule import Block, Schedule, cut_block


@dataclass
class OnlineSession:
    """Online streaming of one recording: blocks and their names as they come.

    Keeps only its turns and one vector for each speaker, however long it listens.

    tracking: a field that is None stands for the embedding's own threshold. Raises ModelError if the embedding has
    none.
    speakers: most number of names; None for any number.
    """

    schedule: Schedule
    contract: Contract
    embedding: SpeakerEmbedding
    tracking: OnlineTracking
    speakers: int | None = None
    _memory: SpeakerMemory = field(init=False)
    _turns: Turns = field(init=False)
    _ended: list[Turn] = field(default_factory=list)
    _latest: "_Latest | None" = None
    _known: Sequence[Turn] = ()

    def __post_init__(self) -> None:
        tracking = tracking_of(self.tracking, self.embedding)
        assert tracking.tau_active is not None
        assert tracking.rho_update is not None
        assert tracking.delta_new is not None
        self._memory = SpeakerMemory(
            tracking.tau_active, tracking.rho_update, tracking.delta_new, self.embedding.dimension, self.speakers
        )
        self._turns = Turns(wait=round(tracking.min_duration_off * SAMPLE_RATE))

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """Take in the segmentation of an update's window, (frames, speakers) bool. Return the local speakers of the
        emitted block, (cells, speakers) bool."""
        heard = self.schedule.heard(update)
        before = self._latest.heard if self._latest is not None else 0
        _, chosen = self.embedding.features_of_speakers(self.contract, activity, heard - self.contract.window)
        block = cut_block(self.schedule, self.contract, update, activity)
        _, end = self.schedule.block(update)
        self._latest = _Latest(block, end, heard, heard - before, activity, chosen)
        return block.frames

    def pool(self, features: Features, last: bool = False) -> None:
        """Pool the embeddings of the latest window's local speakers.

        features: (frames, channels). Only those that are ready when the window ends are used, even if later ones are
        given.
        """
        latest = self._latest
        if latest is None or latest.embeddings is not None:
            return
        ready = self.embedding.frames_before(latest.heard)
        embeddings = np.full((self.contract.speakers, self.embedding.dimension), np.nan, np.float32)
        for speaker in np.flatnonzero(latest.activity.any(axis=0)):
            chosen = latest.chosen[speaker]
            embeddings[speaker] = self.embedding.pool(features[chosen[chosen < ready]])
        self._latest = replace(latest, embeddings=embeddings)

    def name_block(self) -> None:
        """Name the speakers of the latest block. These names are final."""
        latest = self._latest
        assert latest is not None, "something was heard"
        assert latest.embeddings is not None, "its voices are pooled"
        heard = Heard(
            latest.embeddings,
            latest.activity,
            moved=round(latest.moved / self.contract.step),
            frame_seconds=self.contract.step / SAMPLE_RATE,
        )
        names = self._memory.name(heard)
        speaking = [tuple(names[cell].tolist()) for cell in latest.block.frames]
        cells = zip(latest.block.starts, speaking, strict=True)
        ended = [turn for start, now in cells for turn in self._turns.cell(int(start), now)]
        ended += self._turns.passed(latest.end)
        self._known = ended
        self._ended += ended

    @property
    def ended(self) -> Sequence[Turn]:
        """Turns that became known with the latest block, or with the end of the recording."""
        return self._known

    def centroids(self) -> np.ndarray:
        """Return no voices, (0, dimension): names do not depend on them any more."""
        return np.zeros((0, self.embedding.dimension), np.float32)

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """Return everything that was emitted, once the recording has ended. centroids: not used."""
        self._known = self._turns.end(self.schedule.total)
        self._ended += self._known
        return Hypothesis(self.schedule.total, tuple(sorted(self._ended)))

    def live_names(self) -> FinalNames:
        """Return the names of blocks as they are emitted."""
        return FinalNames(self)


@dataclass(frozen=True)
class _Latest:
    """The latest update.

    end: sample at which its block ends.
    heard: samples heard so far.
    moved: samples since the previous window.
    chosen: for each local speaker, the indices of the features to pool.
    """

    block: Block
    end: int
    heard: int
    moved: int
    activity: np.ndarray
    chosen: list[np.ndarray]
    embeddings: np.ndarray | None = None


def full_tracking(tracking: OnlineTracking, embedding: SpeakerEmbedding) -> OnlineTracking:
    """Return what a point is tracked by: without thresholds as it is, otherwise filled in by `tracking_of`."""
    return tracking if tracking.by_clusters else tracking_of(tracking, embedding)


def tracking_of(tracking: OnlineTracking, embedding: SpeakerEmbedding) -> OnlineTracking:
    """Fill in the embedding's own thresholds for those that are None. Raises ModelError if the embedding has none."""
    full = tracking.over(embedding.online)
    missing = [name for name in ("tau_active", "rho_update", "delta_new") if getattr(full, name) is None]
    if missing:
        raise ModelError(
            f"{', '.join(missing)} of the online mode were never tuned for the speaker embedding {embedding.name}: "
            "run `explorer calibrate --online` with it and put what it prints under [space] of the study, "
            "or leave tau_active, rho_update and delta_new out"
        )
    return full
