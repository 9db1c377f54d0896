"""A stored trial's operating point under overlap and noise: `explorer stress` as data.

Conversations are made from people who speak alone (objectives/corpora/simulation/conversations.py), once for each cell
of a grid. Cells are paired: the same people say the same words in all of them. Overlap changes only when they say them,
and noise changes only how loud the noise is. The measurements are kept in the study, for the report; trials are not
changed.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate, product
from pathlib import Path

import optuna

from explorer.diagnostics.measured_trials import evaluator_of, measured_trials, point_of, same_model
from explorer.diagnostics.stress_results import Cell, Stressed
from explorer.statistics.differences import Points, few_recordings, points, points_in_words
from explorer.storage.bulk_sql import refuse_read_only
from explorer.storage.study_record import keep_json, stored_definition
from explorer.workers.protocol import OnStage, prefixed
from objectives.cache.files import writing
from objectives.cache.scratch import passing_cache
from objectives.corpora.corpus import Recording
from objectives.corpora.simulation.channel import Band, NoiseKind
from objectives.corpora.simulation.conversations import SimulationSettings, Studio, prepare_folder
from objectives.corpora.simulation.speakers import Source, Voices, speech_folder, spoken_alone
from objectives.corpora.simulation.turn_taking import LEAD
from objectives.corpora.simulation.utterances import Utterance, utterances
from objectives.corpora.sources import load_corpus
from objectives.errors import CorpusError, StudyError
from objectives.evaluation.evaluator import Evaluator
from objectives.machine import Device
from objectives.operating_point import OperatingPoint, describe

LEAST_SPEECH = 3.0  # seconds in all: whoever says less takes no part
MOST_CELLS = 100


@dataclass(frozen=True)
class Grid:
    """What is varied, and what all conversations have in common.

    overlaps: shares of the speech, 0 … 0.5. noises: dB of speech over noise, None for none. The others are compared
    with the cell of the least overlap and the least noise. minutes, length: of all recordings and of one, without
    overlap. Raises CorpusError.
    """

    overlaps: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    noises: tuple[float | None, ...] = (None, 20.0, 10.0, 5.0)
    speakers: tuple[int, int] = (2, 3)
    minutes: float = 10.0
    length: float = 1.0
    noise_kind: NoiseKind = "pink"
    band: Band = "wide"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "overlaps", tuple(sorted(set(self.overlaps))))
        quietest = sorted(set(self.noises), key=lambda noise: math.inf if noise is None else noise, reverse=True)
        object.__setattr__(self, "noises", tuple(quietest))
        if not 1 <= len(self.overlaps) * len(self.noises) <= MOST_CELLS:
            raise CorpusError(
                f"{len(self.overlaps)} × {len(self.noises)} cells: give a level of overlap and one of noise, and "
                f"{MOST_CELLS} cells at most"
            )
        for overlap, noise in product(self.overlaps, self.noises):
            self.settings(overlap, noise)  # raises if the level is meaningless

    def settings(self, overlap: float, noise: float | None) -> SimulationSettings:
        """Return the settings of one cell's conversations."""
        return SimulationSettings(
            overlap, noise, self.noise_kind, self.band, self.speakers, self.minutes, self.length, self.seed
        )


@dataclass(frozen=True)
class Answer:
    """What `explorer stress` answers.

    stressed: the trial in each cell. added: by how much its DER is above that of the first cell, None for the first.
    against: another trial in the same cells. apart: by how much the DER of `stressed` is above that of `against` in
    each cell. said: the same in sentences. caveats: what to know before trusting it.
    """

    study: str
    stressed: Stressed
    added: tuple[Points | None, ...]
    against: Stressed | None
    apart: tuple[Points, ...]
    said: tuple[str, ...]
    caveats: tuple[str, ...]


def stress(
    study: optuna.Study,
    number: int,
    grid: Grid,
    speech: Path | None = None,
    against: int | None = None,
    device: Device | None = None,
    on_progress: OnStage = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
) -> Answer:
    """Score a trial's operating point, and that of another trial, in each cell of a grid; keep both in the study.

    speech: a folder of single-speaker recordings; by default the parts of the study's own recordings in which one
    person speaks alone. device: where windows are run; the study's by default. trusted: see EvaluatorSettings.
    Raises StudyError if a trial was not measured, if its corpus, weights, settings or model have changed, or if the
    study cannot be written; CorpusError if there is too little speech; and whatever models and evaluation raise.
    """
    definition = stored_definition(study)
    if against == number:
        raise StudyError(f"trial {number} against itself: give another trial with --against, or leave it out")
    trials, _ = measured_trials(study, [number] if against is None else [number, against])
    operating = {trial.number: point_of(trial, definition.space) for trial in trials}
    refuse_read_only(study)
    with evaluator_of(study, trials, device, trusted, on_progress) as evaluator:
        keys = {trial.number: same_model(trial, operating[trial.number], evaluator, on_progress) for trial in trials}
        own = spoken_alone(definition.corpus, evaluator.recordings) if speech is None else None
        voices = _with_enough(own or speech_folder(speech or Path()), grid, own is not None, on_progress)
        cells, digest, rounds = _scored(evaluator, operating, voices, grid, on_progress)
    conditions = {
        **json.loads(json.dumps(asdict(grid))),
        "speech": {"name": Path(voices.name).name, "found": voices.found, "people": len(voices.sources)},
        "rounds": rounds,
        "recordings": digest,
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = [
        Stressed(one, describe(operating[one]), key, conditions, tuple(cells[one]), dict(evaluator.machine), now)
        for one, key in keys.items()
    ]
    for stressed in found:
        _keep(study, stressed)
    return answer(study.study_name, *found)


def answer(study: str, stressed: Stressed, against: Stressed | None = None) -> Answer:
    """Build the answer from measurements."""
    first, *others = stressed.cells
    pairs = zip(stressed.cells, against.cells, strict=True) if against else ()
    found = Answer(
        study=study,
        stressed=stressed,
        added=(None, *(points(cell.scored, first.scored) for cell in others)),
        against=against,
        apart=tuple(points(ours.scored, theirs.scored) for ours, theirs in pairs),
        said=(),
        caveats=tuple(_caveats(stressed)),
    )
    return replace(found, said=tuple(_said(found)))


def _with_enough(voices: Voices, grid: Grid, own: bool, on_progress: OnStage) -> Voices:
    """Return the voices of those who say enough. Raises CorpusError if they are too few, or if audio is unreadable."""
    sources = {}
    for done, (person, parts) in enumerate(voices.sources.items()):
        on_progress("listening for who says enough", done / len(voices.sources))
        if _says_enough(person, parts):
            sources[person] = parts
    if len(sources) < grid.speakers[1]:
        remedy = "give single-speaker recordings with --speech DIR" if own else "add recordings of others"
        fewer = f", or --speakers {max(1, len(sources))}" if sources else ""
        raise CorpusError(
            f"{voices.name}: {len(sources)} people say {LEAST_SPEECH:g} s or more alone, and conversations are of "
            f"{grid.speakers[1]}: {remedy}{fewer}"
        )
    return replace(voices, sources=sources)


def _says_enough(person: str, parts: Sequence[Source]) -> bool:
    """Return whether a person says enough, decoding no more parts than needed."""
    heard = accumulate(sum(one.length for one in utterances(person, part)) for part in parts)
    return any(milliseconds >= 1000 * LEAST_SPEECH for milliseconds in heard)


def _scored(
    evaluator: Evaluator,
    operating: Mapping[int, OperatingPoint],
    voices: Voices,
    grid: Grid,
    on_progress: OnStage,
) -> tuple[dict[int, list[Cell]], str, int]:
    """Return the cells by trial, a hash of all audio, and how often anybody's speech was reused from its beginning."""
    scripts, rounds = _scripts(voices, grid)
    cells: dict[int, list[Cell]] = {number: [] for number in operating}
    heard = hashlib.sha256()
    for overlap, noise in product(grid.overlaps, grid.noises):
        step = in_words_of_cell(overlap, noise)
        on_progress(f"{step}: making conversations", 0.0)
        with passing_cache() as folder:  # a temporary cache: people's speech must not stay on disk
            made = folder / "conversations"
            with writing(made):
                share, recordings = _conversations(voices, grid.settings(overlap, noise), scripts, made)
            for one in recordings:
                heard.update(f"{one.uri} {one.content_hash}\n".encode())
            there = replace(evaluator, recordings=recordings)
            for number, point in operating.items():
                counts = there.errors(point, prefixed(on_progress, f"{step}: trial {number}"))
                cells[number].append(Cell.of(counts, overlap=overlap, noise=noise, overlap_share=share))
            evaluator.accuracy.forget()
    return cells, heard.hexdigest(), rounds


def _scripts(voices: Voices, grid: Grid) -> tuple[list[tuple[Utterance, ...]], int]:
    """Return what is said in each recording, in every cell: enough to fill it without overlap."""
    settings = grid.settings(0.0, None)
    studio = Studio(voices.sources, settings)
    length = round(settings.minutes / settings.recordings * 60_000)
    held = [studio.conversation(place, studio.script(place), length) for place in range(settings.recordings)]
    said = [tuple(replace(turn.utterance, length=turn.length) for turn in one.turns) for one in held]
    return said, max(deck.rounds for deck in studio.decks.values())


def _conversations(
    voices: Voices, settings: SimulationSettings, scripts: Sequence[tuple[Utterance, ...]], folder: Path
) -> tuple[float, tuple[Recording, ...]]:
    """Return the share of overlap that came out, and the recordings of one cell."""
    studio = Studio(voices.sources, settings)
    prepare_folder(folder)
    speech = overlap = 0
    for place, said in enumerate(scripts):
        held = studio.conversation(place, said)
        length = max(turn.end for turn in held.turns) + LEAD
        studio.record(f"stress{place:03d}", "eval", place, held, length, folder)
        speech, overlap = speech + held.speech, overlap + held.overlap
    return overlap / speech, load_corpus(folder).split("all")


def _keep(study: optuna.Study, stressed: Stressed) -> None:
    remedy = "fix the storage, and run this again, which takes as long as before"
    keep_json(study, stressed.key, stressed.as_json(), "what was measured", remedy)


def in_words_of_cell(overlap: float, noise: float | None) -> str:
    """Format a cell: `overlap 10 %, noise at 20 dB`."""
    return f"overlap {100 * overlap:g} %, {'no noise' if noise is None else f'noise at {noise:g} dB'}"


def _said(found: Answer) -> Iterator[str]:
    stressed, against = found.stressed, found.against
    first, last = stressed.cells[0], stressed.cells[-1]
    for cell, more in zip(stressed.cells, found.added, strict=True):
        overlapped = cell.noise == first.noise and cell.overlap == last.overlap
        noisy = cell.overlap == first.overlap and cell.noise == last.noise
        if more is not None and (overlapped or noisy):
            before, after = (in_words_of_cell(one.overlap, one.noise) for one in (first, cell))
            yield (
                f"From {before} to {after} the DER of trial {stressed.trial} goes from {first.der:.2f} to "
                f"{cell.der:.2f} %: {points_in_words(more)}."
            )
    if against is not None:
        worse = sum(one.tied is False and one.points > 0 for one in found.apart)
        better = sum(one.tied is False and one.points < 0 for one in found.apart)
        tied = len(found.apart) - worse - better
        yield (
            f"Beside trial {against.trial}, trial {stressed.trial} has the higher DER in {worse} of {len(found.apart)} "
            f"cells, the lower in {better}, and in {tied} the recordings cannot tell them apart."
        )


def _caveats(stressed: Stressed) -> Iterator[str]:
    speech, rounds = stressed.conditions["speech"], stressed.conditions["rounds"]
    yield (
        f"simulated: conversations made up of {speech['people']} people of {speech['name']} ({speech['found']}), who "
        "do not listen to one another; the noise of their own recordings is in every cell"
    )
    if few := few_recordings(stressed.recordings):
        yield few
    if rounds > 1:
        yield (
            f"little speech: somebody's is used up to {rounds} times over, so that recordings resemble one another and "
            "intervals tend to be too narrow"
        )
    off = [cell for cell in stressed.cells if abs(cell.overlap_share - cell.overlap) > 0.02]
    misses = dict.fromkeys(f"{100 * cell.overlap_share:.1f} % for {100 * cell.overlap:g} %" for cell in off)
    if misses:
        yield f"the overlap that came out is {', '.join(misses)}"
