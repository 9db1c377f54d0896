"""Annotated conversations made of single-speaker recordings: for controlled tests of overlap and noise.

Who says what is drawn apart from when it is said and from the noise, so that conversations of one seed have the same
words at every level of overlap, and the same noise at every level of noise.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

from objectives.corpora.folder import SPLITS_FILE
from objectives.corpora.simulation.channel import (
    Band,
    NoiseFolder,
    NoiseKind,
    as_16_bits,
    heard_through,
    made_noise,
    recorded_noise,
)
from objectives.corpora.simulation.speakers import Source, Voices
from objectives.corpora.simulation.turn_taking import Conversation, placed, spoken_by
from objectives.corpora.simulation.utterances import Deck, Utterance, sounds
from objectives.errors import CorpusError
from objectives.machine import versions
from objectives.models.contract import SAMPLE_RATE

MARKER = "simulation.json"  # tells how a folder was made, and that it may be replaced
SPEECH_LEVEL = -26.0  # dB of full scale, as of a telephone exchange (ITU-T P.56)
LOUDER = 3.0  # dB by which a person may be louder or softer than that
MOST_OVERLAP = 0.5
SHARES = {"eval": 0.3, "train": 0.6, "calib": 0.1}  # of the people; in the order in which they are provided for
OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class SimulationSettings:
    """What conversations are to be like.

    overlap: share of the speech in which two speak, 0 … 0.5. noise: dB of speech over noise, None for none. speakers:
    fewest and most of a conversation. minutes: of all together; length: of one, at most. Raises CorpusError.
    """

    overlap: float = 0.1
    noise: float | None = None
    noise_kind: NoiseKind = "pink"
    band: Band = "wide"
    speakers: tuple[int, int] = (2, 3)
    minutes: float = 60.0
    length: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.speakers
        if not 0.0 <= self.overlap <= MOST_OVERLAP:
            raise CorpusError(f"an overlap of {self.overlap:g}: give a share of the speech from 0 to {MOST_OVERLAP:g}")
        if not 1 <= low <= high:
            raise CorpusError(f"{low}-{high} speakers: give one number, or the fewest and the most, such as 2-3")
        if self.overlap > 0 and low < 2:
            raise CorpusError("one speaker alone cannot overlap: give --speakers 2 or more, or --overlap 0")
        if not (0.1 <= self.minutes <= 6000 and 0.1 <= self.length <= 60):
            raise CorpusError(
                f"{self.minutes:g} minutes in recordings of {self.length:g}: give 0.1 to 6000, and --length 0.1 to 60"
            )
        if self.noise is not None and not -30.0 <= self.noise <= 100.0:
            raise CorpusError(
                f"noise at {self.noise:g} dB: give a ratio of speech to noise from -30 to 100 dB, or none"
            )
        if self.seed < 0:
            raise CorpusError(f"seed {self.seed}: give 0 or more")

    @property
    def recordings(self) -> int:
        """How many are made, all of one length."""
        return max(1, -int(-self.minutes // self.length))


@dataclass(frozen=True)
class Simulated:
    """A recording that was made. duration: seconds. snr: dB, None without noise. gain: dB that kept its peaks inside 16
    bits."""

    uri: str
    split: str
    duration: float
    conversation: Conversation
    snr: float | None
    gain: float

    @property
    def people(self) -> tuple[str, ...]:
        """Who speaks in it."""
        return tuple(sorted({turn.utterance.person for turn in self.conversation.turns}))


@dataclass(frozen=True)
class Simulation:
    """All that was made. people: by split. rounds: how often anybody's material was begun, at most; above 1 something
    was said more than once. noise: the recordings of it as `NoiseFolder.told` has them, None where there are none."""

    settings: SimulationSettings
    voices: Voices
    people: Mapping[str, tuple[str, ...]]
    recordings: tuple[Simulated, ...]
    rounds: int
    noise: Mapping[str, Any] | None = None

    @property
    def overlap_share(self) -> float:
        """Overlap as a share of all speech, 0 … 1."""
        speech = sum(one.conversation.speech for one in self.recordings)
        return sum(one.conversation.overlap for one in self.recordings) / speech if speech else 0.0

    def told(self) -> dict[str, Any]:
        """Everything, as JSON; files by their names below the folder."""
        return {
            "settings": asdict(self.settings) | ({} if self.noise is None else {"noise_kind": "recorded"}),
            "noise": self.noise,
            "speech": {"name": self.voices.name, "found": self.voices.found},
            "versions": versions(),
            "overlap_share": round(self.overlap_share, 6),
            "rounds": self.rounds,
            "speakers": {split: list(people) for split, people in self.people.items()},
            "recordings": [_told(one) for one in self.recordings],
        }


@dataclass
class Studio:
    """Makes the conversations of some people. seed: of everything that is drawn."""

    voices: Mapping[str, Sequence[Source]]
    settings: SimulationSettings
    noise: NoiseFolder | None = None
    decks: dict[str, Deck] = field(default_factory=dict)
    _waiting: list[str] = field(default_factory=list)  # who was in the fewest conversations so far

    def script(self, place: int) -> Iterator[Utterance]:
        """What is said in recording number `place`, without end. To be taken in the order of the recordings."""
        random = self._random(place, "script")
        low, high = self.settings.speakers
        number = min(int(random.integers(low, high, endpoint=True)), len(self.voices))
        people: list[str] = []
        while len(people) < number:  # everybody once, before anybody again
            if not (waiting := [person for person in self._waiting if person not in people]):
                known = sorted(self.voices)
                self._waiting += [known[one] for one in random.permutation(len(known))]
                continue
            people.append(waiting[0])
            self._waiting.remove(waiting[0])
        return spoken_by(people, self._draw, random)

    def conversation(
        self, place: int, said: Iterator[Utterance] | Sequence[Utterance], length: int | None = None
    ) -> Conversation:
        """Who speaks when in recording number `place`. length: ms, as `placed` takes it."""
        return placed(said, self.settings.overlap, self._random(place, "timing"), length)

    def record(self, uri: str, split: str, place: int, held: Conversation, length: int, folder: Path) -> Simulated:
        """Render a conversation of `length` ms into a folder corpus. Raises CorpusError if audio is unreadable."""
        clean, active = self._clean(place, held, length)
        noise = None
        if self.settings.noise is not None:
            random = self._random(place, "noise")
            if self.noise is not None:
                noise = recorded_noise(self.noise, len(clean), random)
            else:
                noise = made_noise(self.settings.noise_kind, clean, active, random)
        heard = heard_through(clean, active, noise, self.settings.noise, self.settings.band)
        samples, gain = as_16_bits(heard)
        wavfile.write(folder / "audio" / f"{uri}.wav", SAMPLE_RATE, samples)
        (folder / "rttm" / f"{uri}.rttm").write_text(_rttm(uri, held), encoding="utf-8")
        (folder / "uem" / f"{uri}.uem").write_text(f"{uri} 1 0.000 {length / 1000:.3f}\n", encoding="utf-8")
        return Simulated(uri, split, length / 1000, held, self.settings.noise, gain)

    def _clean(self, place: int, held: Conversation, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(samples,) float32 of speech, and (samples,) bool where there is some."""
        random = self._random(place, "levels")
        people = sorted({turn.utterance.person for turn in held.turns})
        levels = {person: SPEECH_LEVEL + random.uniform(-LOUDER, LOUDER) for person in people}
        clean = np.zeros(length * SAMPLE_RATE // 1000, np.float32)
        active = np.zeros(len(clean), bool)
        for source in dict.fromkeys(turn.utterance.source for turn in held.turns):
            turns = [turn for turn in held.turns if turn.utterance.source == source]
            cut = sounds(source, [(turn.utterance.start, turn.length) for turn in turns])
            for turn in turns:
                sound = cut[turn.utterance.start, turn.length]
                first = turn.start * SAMPLE_RATE // 1000
                gain = 10 ** ((levels[turn.utterance.person] - turn.utterance.level) / 20)
                clean[first : first + len(sound)] += sound * np.float32(gain)
                active[first : first + len(sound)] = True
        return clean, active

    def _draw(self, person: str) -> Utterance:
        if person not in self.decks:
            random = np.random.default_rng((self.settings.seed, zlib.crc32(person.encode())))
            self.decks[person] = Deck(person, self.voices[person], random)
        return self.decks[person].draw()

    def _random(self, place: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, place, zlib.crc32(purpose.encode())))


def simulate(
    voices: Voices,
    settings: SimulationSettings,
    folder: Path,
    noise: NoiseFolder | None = None,
    on_progress: OnProgress = lambda fraction: None,
) -> Simulation:
    """Make conversations and write them into an empty folder as a corpus, no person in two splits.

    Raises CorpusError if there are too few people, or a recording cannot be read; OSError where the folder cannot be
    written.
    """
    people = _split_people(voices, settings)
    heard = None if noise is None else noise.told()
    length = round(settings.minutes / settings.recordings * 60_000)
    prepare_folder(folder)
    made: list[Simulated] = []
    rounds = 1
    for split, (members, number) in people.items():
        studio = Studio({person: voices.sources[person] for person in members}, settings, noise)
        for _ in range(number):
            place = len(made)
            held = studio.conversation(place, studio.script(place), length)
            made.append(studio.record(f"{split}{place:03d}", split, place, held, length, folder))
            on_progress(len(made) / settings.recordings)
        rounds = max(rounds, *(deck.rounds for deck in studio.decks.values()))
    simulation = Simulation(
        settings, voices, {name: each for name, (each, _) in people.items()}, tuple(made), rounds, heard
    )
    finish_folder(folder, simulation)
    return simulation


def prepare_folder(folder: Path) -> None:
    """The folders of a corpus, empty."""
    for name in ("audio", "rttm", "uem"):
        (folder / name).mkdir(parents=True)


def finish_folder(folder: Path, simulation: Simulation) -> None:
    """Its splits, and how it was made."""
    splits: dict[str, list[str]] = {}
    for one in simulation.recordings:
        splits.setdefault(one.split, []).append(one.uri)
    (folder / SPLITS_FILE).write_text(json.dumps(splits, indent=2) + "\n", encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(simulation.told(), indent=1) + "\n", encoding="utf-8")


def _split_people(voices: Voices, settings: SimulationSettings) -> dict[str, tuple[tuple[str, ...], int]]:
    """People and number of recordings by split: eval first, then train, then calib, as far as there are people and
    recordings for them."""
    least = settings.speakers[1]
    number, people = settings.recordings, sorted(voices.sources)
    if len(people) < least:
        raise CorpusError(
            f"{voices.name}: {len(people)} people ({voices.found}) and conversations of {least}: add recordings of "
            f"others, or give --speakers {len(people)}"
        )
    splits = dict(list(SHARES.items())[: min(number, len(people) // least)])
    random = np.random.default_rng((settings.seed, zlib.crc32(b"splits")))
    drawn = [people[place] for place in random.permutation(len(people))]
    whole = sum(splits.values())
    sizes = _shared(len(people), {name: share / whole for name, share in splits.items()}, least)
    numbers = _shared(number, {name: share / whole for name, share in splits.items()}, 1)
    waiting = iter(drawn)
    return {name: (tuple(sorted(islice(waiting, sizes[name]))), numbers[name]) for name in splits}


def _shared(number: int, shares: Mapping[str, float], least: int) -> dict[str, int]:
    """So many things by shares that add up to 1, at least so many each; what rounding leaves goes to the largest."""
    given = {name: max(least, int(share * number)) for name, share in shares.items()}
    while (over := sum(given.values()) - number) != 0:
        most = max(given, key=lambda name: (given[name], shares[name]))
        given[most] -= over if over < 0 else 1
    return given


def _rttm(uri: str, held: Conversation) -> str:
    said = ((turn.start / 1000, turn.length / 1000, turn.utterance.person) for turn in held.turns)
    return "".join(f"SPEAKER {uri} 1 {s:.3f} {d:.3f} <NA> <NA> {person} <NA> <NA>\n" for s, d, person in said)


def _told(one: Simulated) -> dict[str, Any]:
    return {
        "uri": one.uri,
        "split": one.split,
        "duration": one.duration,
        "speakers": list(one.people),
        "speech": one.conversation.speech / 1000,
        "overlap_share": round(one.conversation.overlap_share, 6),
        "snr": one.snr,
        "gain": round(one.gain, 3),
        "turns": [
            {
                "speaker": turn.utterance.person,
                "start": turn.start / 1000,
                "duration": turn.length / 1000,
                "source": turn.utterance.source.name,
                "source_start": turn.utterance.start / 1000,
            }
            for turn in one.conversation.turns
        ],
    }
