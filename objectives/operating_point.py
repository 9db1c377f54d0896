"""The unit of the search: one way to run streaming diarization."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from objectives.errors import OperatingPointError

Precision = Literal["fp32", "fp16", "int8_ptq", "int8_qat", "int4_ptq", "int4_qat"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Structure = Literal["none", "hidden", "linear", "both"]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

Mode = Literal["chunk-wise", "online", "offline"]
MODES: tuple[Mode, ...] = get_args(Mode)

Tracking = Literal["chunk-wise", "online"]  # the modes that stream
TRACKINGS: tuple[Tracking, ...] = get_args(Tracking)

CHUNK_LENGTH_RANGE = (0.02, 5.0)  # seconds
RIGHT_CONTEXT_RANGE = (0.01, 5.0)  # seconds; 0 is also allowed
# seconds, seconds, cosine distance, seconds
ONLINE_RANGES = {
    "tau_active": (0.0, 10.0),
    "rho_update": (0.0, 10.0),
    "delta_new": (0.0, 2.0),
    "min_duration_off": (0.0, 5.0),
}
PRUNING_RATIO_RANGE = (0.0, 0.95)  # share of the units to remove; 0 itself means structure `none`


@dataclass(frozen=True)
class Pruning:
    """What is removed from the segmentation model (the paper's Sec. 4.3).

    structure: `hidden` for units of every BiLSTM layer, `linear` for outputs of the linear layers after them, `both`,
    or `none`.
    ratio: share of the units to remove, in (0, 0.95]. It is 0 if the structure is `none`.

    Raises OperatingPointError if the two do not match.
    """

    structure: Structure = "none"
    ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise OperatingPointError(
                f"pruning structure {self.structure!r} is unknown: use one of {', '.join(STRUCTURES)}"
            )
        low, high = PRUNING_RATIO_RANGE
        if self.structure == "none" and self.ratio != 0.0:
            raise OperatingPointError(f"pruning ratio = {self.ratio:g} needs a structure: use hidden, linear or both")
        if self.structure != "none" and not (math.isfinite(self.ratio) and low < self.ratio <= high):
            raise OperatingPointError(
                f"pruning ratio = {self.ratio:g} is outside the design space: use a value in ({low:g}, {high:g}]"
            )

    def __str__(self) -> str:
        """Return `Hidden-40`, as in the paper's Table 1, or `none`."""
        return "none" if self.structure == "none" else f"{self.structure.capitalize()}-{100 * self.ratio:.4g}"


UNPRUNED = Pruning()


@dataclass(frozen=True)
class OnlineTracking:
    """How the online mode keeps track of speakers (Coria et al., "Overlap-aware low-latency online speaker diarization
    based on end-to-end local segmentation", ASRU 2021, arXiv 2109.06483).

    tau_active: seconds that a local speaker must speak in the window to be recognised by its voice.
    rho_update: seconds that it must speak alone for its voice to be remembered, either as a new speaker's or as a known
    one's.
    delta_new: cosine distance from which a voice belongs to none of the known speakers.
    min_duration_off: a speaker's pauses of up to this many seconds are closed even if their end has not been heard yet.
    This delays labels by the same time; 0 closes only pauses that end in what was heard, and delays nothing.

    The first three are of incremental clustering, and None stands for the embedding's own value, tuned on *train*. If
    all three are None, the voices heard so far are clustered anew every second instead, without a threshold (arXiv
    2111.13803).

    Raises OperatingPointError if a value is out of range.
    """

    tau_active: float | None = None
    rho_update: float | None = None
    delta_new: float | None = None
    min_duration_off: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in ONLINE_RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise OperatingPointError(
                    f"{name} = {value:g} is outside of what the online mode takes: use a value in [{low:g}, {high:g}]"
                )

    @property
    def by_clusters(self) -> bool:
        """Whether names come from clusters of all that was heard so far, since no threshold is given."""
        return self.tau_active is None and self.rho_update is None and self.delta_new is None

    def over(self, tuned: "OnlineTracking") -> "OnlineTracking":
        """Return a copy in which each None is replaced by the value of `tuned`."""
        own = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(tuned, **own)

    @property
    def untuned(self) -> dict[str, float]:
        """The settings that are not their defaults, by name."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None and value != getattr(AS_TUNED, name)
        }


AS_TUNED = OnlineTracking()


@dataclass(frozen=True)
class OperatingPoint:
    """One point of the design space (notation of the paper, Sec. 4.2 to 4.4).

    chunk_length: C in seconds, the update period, in [0.02, 5].
    right_context: R in seconds, the look-ahead, 0 or in [0.01, 5].
    pruning, precision: of the segmentation model.
    mode: when speakers are named. `chunk-wise`: when the recording ends, as in the paper. `online`: when each block is
    emitted, for good. `offline`: the released pipeline on the whole recording, in which C and R have no meaning and
    keep their defaults.
    online: how the online mode tracks speakers.

    Raises OperatingPointError if a value lies outside its range. Because C and R are at most 5 s, a block always lies
    inside the model's 10 s window.
    """

    chunk_length: float = 1.0
    right_context: float = 0.0
    pruning: Pruning = UNPRUNED
    precision: Precision = "fp32"
    mode: Mode = "chunk-wise"
    online: OnlineTracking = AS_TUNED

    def __post_init__(self) -> None:
        _check_range("chunk length C", self.chunk_length, CHUNK_LENGTH_RANGE)
        if self.right_context != 0.0:
            _check_range("right context R", self.right_context, RIGHT_CONTEXT_RANGE, or_zero=True)
        if self.precision not in PRECISIONS:
            raise OperatingPointError(f"precision {self.precision!r} is unknown: use one of {', '.join(PRECISIONS)}")
        if self.mode not in MODES:
            raise OperatingPointError(f"mode {self.mode!r} is unknown: use one of {', '.join(MODES)}")
        if self.mode == "offline" and (self.chunk_length, self.right_context) != (1.0, 0.0):
            raise OperatingPointError("the offline mode hears the whole recording first: leave C and R out")
        if self.mode != "online" and self.online != AS_TUNED:
            raise OperatingPointError(
                f"tau_active, rho_update, delta_new and min_duration_off are the online mode's, and this is {self.mode}"
            )

    @property
    def streamed(self) -> bool:
        """Whether it has C and R: chunk-wise or online."""
        return self.mode != "offline"

    @property
    def tracking(self) -> OnlineTracking | None:
        """How speakers are tracked. None if they are named when the recording ends."""
        return self.online if self.mode == "online" else None

    @property
    def model(self) -> str:
        """The segmentation model in words: `Hidden-40 int8_ptq`, `fp32`."""
        return self.precision if self.pruning == UNPRUNED else f"{self.pruning} {self.precision}"

    @property
    def label(self) -> str:
        """The point as a short name in a figure: `C=2.5 R=0.17 Both-5 int4_ptq`, `online C=1 R=0 fp32`."""
        tracking = "online " if self.mode == "online" else ""
        streamed = f"C={self.chunk_length:.2g} R={self.right_context:.2g} " if self.streamed else ""
        return f"{tracking}{streamed}{self.model}"

    @property
    def latency(self) -> float:
        """Algorithmic latency in seconds: C + R. In the online mode it includes min_duration_off; in the offline mode
        it is infinite."""
        if not self.streamed:
            return math.inf
        return self.chunk_length + self.right_context + self.online.min_duration_off


def describe(point: OperatingPoint) -> str:
    """Describe a point in words: `C 1 s, R 0.5 s, Hidden-40, fp32`.

    The mode follows if it is not chunk-wise, with what is not by default: `..., online, delta_new 0.6`, `..., offline`.
    """
    streamed = [f"C {point.chunk_length:.3g} s", f"R {point.right_context:.3g} s"] if point.streamed else []
    pruning = "unpruned" if point.pruning == UNPRUNED else str(point.pruning)
    mode = [] if point.mode == "chunk-wise" else [mode_in_words(point)]
    return ", ".join([*streamed, pruning, point.precision, *mode])


def mode_in_words(point: OperatingPoint) -> str:
    """Describe a mode: `online`, or `online, delta_new 0.6` if that is given."""
    return ", ".join([point.mode, *(f"{name} {value:.4g}" for name, value in point.online.untuned.items())])


def _check_range(name: str, value: float, bounds: tuple[float, float], or_zero: bool = False) -> None:
    low, high = bounds
    if not (math.isfinite(value) and low <= value <= high):
        raise OperatingPointError(
            f"{name} = {value:g} s is outside the design space: use a value in [{low:g}, {high:g}] s"
            + (", or 0" if or_zero else "")
        )


BASELINE = OperatingPoint(chunk_length=1.0, right_context=0.0, precision="fp32")
OFFLINE_BASELINE = OperatingPoint(precision="fp32", mode="offline")
