"""Simulate annotated conversations from single-speaker recordings, for controlled tests of overlap and noise.

Utterances, timing and noise are drawn independently. So conversations of one seed have the same utterances at every
level of overlap, and the same noise at every noise level.
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

MARKER = "simulation.json"  # records how a folder was made, and marks it as replaceable
SPEECH_LEVEL = -26.0  # dB of full scale, as in a telephone exchange (ITU-T P.56)
LOUDER = 3.0  # dB by which a person may be louder or softer
MOST_OVERLAP = 0.5
SHARES = {"eval": 0.3, "train": 0.6, "calib": 0.1}  # of the people; earlier splits are filled first


@dataclass(frozen=True)
class SimulationSettings:
    """Settings of a simulation.

    overlap: share of the speech in which two speak, 0 … 0.5. noise: dB of speech over noise, None for none. speakers:
    fewest and most per conversation. minutes: of all conversations together. length: minutes of one, at most.
    Raises CorpusError if a value is out of range.
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
        """Number of recordings, all of equal length."""
        return max(1, -int(-self.minutes // self.length))


@dataclass(frozen=True)
class Simulated:
    """A simulated recording. duration: seconds. snr: dB, None without noise. gain: dB, 0 or less, against clipping."""

    uri: str
    split: str
    duration: float
    conversation: Conversation
    snr: float | None
    gain: float


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation.

    people: by split. rounds: how often any person's material was used, at most; above 1, utterances are repeated.
    noise: the result of `NoiseFolder.as_json`, None without noise recordings."""

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

    def as_json(self) -> dict[str, Any]:
        """Describe everything as JSON, files by their relative names."""
        return {
            "settings": asdict(self.settings) | ({} if self.noise is None else {"noise_kind": "recorded"}),
            "noise": self.noise,
            "speech": {"name": self.voices.name, "found": self.voices.found},
            "versions": versions(),
            "overlap_share": round(self.overlap_share, 6),
            "rounds": self.rounds,
            "speakers": {split: list(people) for split, people in self.people.items()},
            "recordings": [_recording_as_json(one) for one in self.recordings],
        }


@dataclass
class Studio:
    """Makes the conversations of a group of people."""

    voices: Mapping[str, Sequence[Source]]
    settings: SimulationSettings
    noise: NoiseFolder | None = None
    decks: dict[str, Deck] = field(default_factory=dict)
    _waiting: list[str] = field(default_factory=list)  # people who are in fewer conversations than others so far

    def script(self, place: int) -> Iterator[Utterance]:
        """Iterate endlessly over utterances for recording number `place`. Call it in the order of the recordings."""
        random = self._random(place, "script")
        low, high = self.settings.speakers
        number = min(int(random.integers(low, high, endpoint=True)), len(self.voices))
        people: list[str] = []
        while len(people) < number:  # everyone takes part once before anyone does again
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
        """Decide who speaks when in recording number `place`. length: in ms, as for `placed`."""
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
        """Return the speech, (samples,) float32, and whether somebody speaks, (samples,) bool."""
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
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Simulation:
    """Simulate conversations and write them into an empty folder as a corpus. No person is in two splits.

    Raises CorpusError if there are too few people or a recording cannot be read, OSError if the folder cannot be
    written.
    """
    people = _split_people(voices, settings)
    heard = None if noise is None else noise.as_json()
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
    splits = {split: [one.uri for one in made if one.split == split] for split in people}
    (folder / SPLITS_FILE).write_text(json.dumps(splits, indent=2) + "\n", encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(simulation.as_json(), indent=1) + "\n", encoding="utf-8")
    return simulation


def prepare_folder(folder: Path) -> None:
    """Create the empty folders of a corpus."""
    for name in ("audio", "rttm", "uem"):
        (folder / name).mkdir(parents=True)


def _split_people(voices: Voices, settings: SimulationSettings) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return people and number of recordings by split.

    eval comes first, then train, then calib, as long as there are enough people and recordings."""
    least = settings.speakers[1]
    number, people = settings.recordings, sorted(voices.sources)
    if len(people) < least:
        raise CorpusError(
            f"{voices.name}: {len(people)} people ({voices.found}) and conversations of {least}: add recordings of "
            f"others, or give --speakers {len(people)}"
        )
    shares = dict(list(SHARES.items())[: min(number, len(people) // least)])
    whole = sum(shares.values())
    shares = {name: share / whole for name, share in shares.items()}
    sizes, numbers = _shared(len(people), shares, least), _shared(number, shares, 1)
    random = np.random.default_rng((settings.seed, zlib.crc32(b"splits")))
    drawn = iter([people[place] for place in random.permutation(len(people))])
    return {name: (tuple(sorted(islice(drawn, sizes[name]))), numbers[name]) for name in shares}


def _shared(number: int, shares: Mapping[str, float], least: int) -> dict[str, int]:
    """Divide a number by shares that add up to 1, with a minimum each. The largest absorbs the rounding."""
    given = {name: max(least, int(share * number)) for name, share in shares.items()}
    while (over := sum(given.values()) - number) != 0:
        most = max(given, key=lambda name: (given[name], shares[name]))
        given[most] -= over if over < 0 else 1
    return given


def _rttm(uri: str, held: Conversation) -> str:
    said = ((turn.start / 1000, turn.length / 1000, turn.utterance.person) for turn in held.turns)
    return "".join(f"SPEAKER {uri} 1 {s:.3f} {d:.3f} <NA> <NA> {person} <NA> <NA>\n" for s, d, person in said)


def _recording_as_json(one: Simulated) -> dict[str, Any]:
    return {
        "uri": one.uri,
        "split": one.split,
        "duration": one.duration,
        "speakers": sorted({turn.utterance.person for turn in one.conversation.turns}),
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
