"""Made-up conversations: what is asked for comes out, by the product's own measures."""

import itertools
import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from objectives.corpora.corpus import SAMPLE_RATE
from objectives.corpora.simulation.channel import NoiseFolder, as_16_bits, heard_through, made_noise, noise_folder
from objectives.corpora.simulation.conversations import Simulation, SimulationSettings, simulate
from objectives.corpora.simulation.speakers import Source, speech_folder, spoken_alone
from objectives.corpora.simulation.turn_taking import LEAD, Conversation, placed, spoken_by
from objectives.corpora.simulation.utterances import Utterance, sounds, speech_spans, utterances
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import summarize_recordings, summarize_splits
from objectives.errors import CorpusError
from tests.support.corpora import encode_audio, rttm, tone, write_audio
from tests.support.speech_bursts import speech, write_voices

SOURCE = Source("a/1.wav", Path("1.wav"))
SHORT = SimulationSettings(minutes=3.0, length=0.5)


@pytest.fixture(scope="module")
def voices_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("speech"), 9)


def made(folder: Path, out: Path, given: SimulationSettings = SHORT, noise: NoiseFolder | None = None) -> Simulation:
    return simulate(speech_folder(folder), given, out, noise)


def samples_of(path: Path) -> np.ndarray:
    rate, samples = wavfile.read(path)
    assert (rate, samples.dtype, samples.ndim) == (SAMPLE_RATE, np.int16, 1)
    return np.asarray(samples, np.float64) / 32767


# --- who speaks alone, and where


def test_the_layout_of_a_folder_is_recognised(tmp_path: Path) -> None:
    for name in ("84/121123/84-121123-0000.flac", "84/121123/84-121123-0001.flac", "174/50561/174-50561-0000.flac"):
        write_audio(tmp_path / "libri" / "dev" / name, tone(0.2))
    found = speech_folder(tmp_path / "libri")
    assert found.found == "LibriSpeech's SPEAKER/CHAPTER"
    # 84 alone would only tell speakers of one recording apart
    assert {person: len(each) for person, each in found.sources.items()} == {"174": 1, "voice-84": 2}
    assert found.sources["174"][0].name == "dev/174/50561/174-50561-0000.flac"

    for name in ("ana b/x/1.wav", "ana b/2.wav", "bea/1.wav"):
        write_audio(tmp_path / "folders" / name, tone(0.2))
    found = speech_folder(tmp_path / "folders")
    assert found.found == "a folder for each person"
    assert {person: len(each) for person, each in found.sources.items()} == {"ana_b": 2, "bea": 1}

    for name in ("ana-1.wav", "ana_2.wav", "bea.wav", ".hidden.wav", "notes.txt"):
        write_audio(tmp_path / "flat" / name.replace(".txt", ".wav"), tone(0.2))
    found = speech_folder(tmp_path / "flat")
    assert {person: len(each) for person, each in found.sources.items()} == {"ana": 2, "bea": 1, "notes": 1}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds no audio"),
        (["a/1.wav", "b.wav"], "lies beside folders such as 'a'"),
        (["a b/1.wav", "a_b/1.wav"], "would both be 'a_b' in an RTTM"),
        (["<NA>/1.wav", "bea/1.wav"], "'<NA>' names nobody in an RTTM: rename"),
        (["<NA>-1.wav", "bea-1.wav"], "'<NA>' names nobody in an RTTM: rename"),
        ([" /1.wav", "bea/1.wav"], "' ' names nobody in an RTTM: rename"),
        ([os.fsdecode(b"a\xff/1.wav"), "bea/1.wav"], "1.wav: the name is not UTF-8: rename"),
        (["ana/1.wav", os.fsdecode(b"bea/\xff.wav")], ".wav: the name is not UTF-8: rename"),
    ],
)
def test_a_folder_that_says_nothing_of_people_is_refused(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        write_audio(tmp_path / name, tone(0.2))
    with pytest.raises(CorpusError, match=said):
        speech_folder(tmp_path)
    with pytest.raises(CorpusError, match="is not a folder"):
        speech_folder(tmp_path / "nowhere")


def test_stretches_of_one_person_are_cut_from_a_reference(tmp_path: Path) -> None:
    turns = [(0.0, 3.0, "MEE009"), (2.0, 3.0, "A"), (6.0, 0.9, "MEE009"), (7.0, 1.5, "MEE009"), (8.0, 1.5, "MEE009")]
    write_audio(tmp_path / "one.wav", tone(10.0))
    (tmp_path / "one.rttm").write_text(rttm("one", turns))
    (tmp_path / "one.uem").write_text("one 1 0.500 10.000\n")
    found = spoken_alone("calls", load_corpus(tmp_path).split("all")).sources
    spans = {person: [(one.start, one.end) for one in each] for person, each in found.items()}
    assert spans == {
        # from the UEM to where A begins; 6 … 6.9 is too short; his own turns that overlap are one
        "MEE009": [pytest.approx((0.55, 1.95)), pytest.approx((7.05, 9.45))],
        "one-A": [pytest.approx((3.05, 4.95))],
    }


def test_speech_is_found_by_energy(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "x.wav", speech(12.0, [(1.0, 2.0), (2.4, 3.0), (4.0, 4.1), (6.0, 9.0)]))
    found = utterances("ana", Source("x", path))
    # the pause of 0.4 s stays, the click of 0.1 s goes; 30 ms are kept at the edges
    assert [(one.start, one.start + one.length) for one in found] == [(970, 3030), (5970, 9030)]
    assert found[0].level == pytest.approx(-20.6, abs=0.5)  # 20 log 0.1, and 0.4 s of 4.7 are silent
    inside = utterances("ana", Source("x", path, 6.5, 8.0))
    assert [(one.start, one.start + one.length) for one in inside] == [(6500, 8000)]
    assert utterances("ana", Source("x", write_audio(tmp_path / "silent.wav", np.zeros(16000, np.float32)))) == ()


def test_a_long_utterance_is_cut_where_it_is_quietest() -> None:
    levels = np.full(2000, -20.0)  # 20 s
    levels[[650, 1400]] = -40.0  # a frame each
    levels[:2] = levels[-2:] = -90.0
    spans = speech_spans(levels)
    assert spans[0] == (0, 6500)
    assert spans[1] == (6500, 14000)
    assert spans[-1][1] == 20000
    assert all(end - start <= 8000 for start, end in spans)


def test_a_source_is_decoded_alike_from_any_format(tmp_path: Path) -> None:
    sound = speech(6.0, [(1.0, 4.0)])
    wave = Source("w", write_audio(tmp_path / "x.wav", sound))
    packed = Source("m", encode_audio(tmp_path / "x.m4a", sound, 16000))
    (one,), (other,) = utterances("a", wave), utterances("a", packed)
    assert abs(one.start - other.start) <= 60
    assert abs(one.length - other.length) <= 90
    cut = sounds(wave, [(1500, 200), (3000, 100)])
    assert cut[1500, 200][100:-100] == pytest.approx(sound[24100 : 24000 + 3200 - 100])
    assert cut[1500, 200][0] == 0.0  # faded
    assert len(cut[3000, 100]) == 1600


# --- who speaks when


def turns_of(lengths: list[int], people: list[str]) -> list[Utterance]:
    return [Utterance(person, SOURCE, 0, long, -20.0) for long, person in zip(lengths, itertools.cycle(people))]


def counted(held: Conversation) -> tuple[int, int, int]:
    """ms in which somebody, two, or more than two speak, counted one by one."""
    speaking = np.zeros(max(turn.end for turn in held.turns), np.int8)
    for turn in held.turns:
        speaking[turn.start : turn.end] += 1
    return int((speaking > 0).sum()), int((speaking > 1).sum()), int((speaking > 2).sum())


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(300, 8000), min_size=1, max_size=40),
    people=st.integers(1, 4),
    overlap=st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]),
    seed=st.integers(0, 1000),
    length=st.none() | st.integers(1200, 40_000),
)
def test_nobody_overlaps_himself_and_two_at_most_speak(
    lengths: list[int], people: int, overlap: float, seed: int, length: int | None
) -> None:
    names = [f"p{number}" for number in range(people)]
    who = random.Random(seed)
    said = [Utterance(who.choice(names), SOURCE, 0, long, -20.0) for long in lengths]
    held = placed(said, overlap, np.random.default_rng(seed), length)
    if not held.turns:
        assert length is not None
        return
    assert counted(held) == (held.speech, held.overlap, 0)
    for name in names:
        own = sorted((turn.start, turn.end) for turn in held.turns if turn.utterance.person == name)
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(own))
    assert held.turns[0].start == LEAD
    assert [turn.start for turn in held.turns] == sorted(turn.start for turn in held.turns)
    if length is None:
        assert [turn.utterance for turn in held.turns] == said
    else:
        assert max(turn.end for turn in held.turns) <= length
    if overlap == 0:
        assert held.overlap == 0
        gaps = [after.start - before.end for before, after in itertools.pairwise(held.turns)]
        assert all(gap > 0 for gap in gaps)


@pytest.mark.parametrize("people", [2, 3, 5])
@pytest.mark.parametrize("overlap", [0.02, 0.1, 0.3, 0.5])
def test_the_share_of_overlap_is_the_one_asked_for(people: int, overlap: float) -> None:
    """Twelve conversations of five minutes, each of them as well."""
    lengths = np.random.default_rng(1)
    held = []
    for number in range(12):
        names = [f"p{one}" for one in range(people)]
        draws = spoken_by(
            names, lambda name: Utterance(name, SOURCE, 0, int(lengths.integers(400, 6000)), -20.0),
            np.random.default_rng(number),
        )  # fmt: skip
        held.append(placed(draws, overlap, np.random.default_rng(number), 300_000))
    share = sum(one.overlap for one in held) / sum(one.speech for one in held)
    assert share == pytest.approx(overlap, abs=0.01)
    assert all(one.overlap_share == pytest.approx(overlap, abs=0.04) for one in held)
    assert all({turn.utterance.person for turn in one.turns} == set(names) for one in held)


# --- what it is heard through


def noise_of(folder: Path, clean: Path, uri: str) -> tuple[float, float]:
    """Power of the speech and of the noise where somebody speaks, from the files alone."""
    active = np.zeros(30 * SAMPLE_RATE, bool)
    for turn in (clean / "rttm" / f"{uri}.rttm").read_text().splitlines():
        start, long = (round(float(part) * SAMPLE_RATE) for part in turn.split()[3:5])
        active[start : start + long] = True
    quiet = samples_of(clean / "audio" / f"{uri}.wav")
    noise = samples_of(folder / "audio" / f"{uri}.wav") - quiet
    assert np.mean(noise[~active] ** 2) == pytest.approx(np.mean(noise[active] ** 2), rel=0.3)  # it goes on in pauses
    return float(np.mean(quiet[active] ** 2)), float(np.mean(noise[active] ** 2))


@pytest.mark.parametrize("kind", ["pink", "speech-shaped", "folder"])
def test_the_noise_is_as_loud_as_asked_for(voices_folder: Path, tmp_path: Path, kind: str) -> None:
    write_audio(tmp_path / "noise" / "hum.flac", tone(7.0, 8000), 8000)  # shorter, and at another rate
    own = noise_folder(tmp_path / "noise") if kind == "folder" else None
    loud = replace(SHORT, noise=5.0, noise_kind="pink" if kind == "folder" else kind)
    made(voices_folder, tmp_path / "clean")
    told = made(voices_folder, tmp_path / "loud", loud, own)
    for one in told.recordings:
        speech_power, noise_power = noise_of(tmp_path / "loud", tmp_path / "clean", one.uri)
        assert 10 * np.log10(speech_power / noise_power) == pytest.approx(5.0, abs=0.1)
        assert one.gain == 0.0


def test_made_noise_has_its_spectrum() -> None:
    clean = np.random.default_rng(0).standard_normal(2**17).astype(np.float32)
    clean = np.convolve(clean, [1.0, 0.9], "same").astype(np.float32)  # soft above
    active = np.arange(2**17) > 2**15

    def slope(samples: np.ndarray, low: float, high: float) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        band = [power[(hertz > at) & (hertz < 2.0 * at)].mean() for at in (low, high)]
        return 10 * float(np.log10(band[1] / band[0]))

    pink = made_noise("pink", clean, active, np.random.default_rng(1))
    assert slope(pink, 100, 1000) == pytest.approx(-10.0, abs=1.0)
    shaped = made_noise("speech-shaped", clean, active, np.random.default_rng(1))
    assert slope(shaped, 100, 3800) == pytest.approx(slope(clean, 100, 3800), abs=1.0)


def test_a_telephone_passes_its_band_in_eight_bits() -> None:
    def through(hertz: float) -> np.ndarray:
        return heard_through(tone(1.0, frequency=hertz), np.ones(16000, bool), None, None, "telephone")[2000:-2000]

    level = [20 * np.log10(np.sqrt(2 * np.mean(through(hertz) ** 2)) / 0.3 + 1e-6) for hertz in (60, 1003, 3800, 6000)]
    assert level[1] == pytest.approx(0.0, abs=0.5)
    assert level[2] < -5
    assert max(level[0], level[3]) < -30
    # G.711 has 255 levels, finer at the bottom: about 38 dB from what went in, whatever the level
    heard, phase = through(1003), 2 * np.pi * 1003 * np.arange(12000) / SAMPLE_RATE
    waves = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    rest = heard - waves @ np.linalg.lstsq(waves, heard)[0]
    assert 30 < 10 * np.log10(np.mean(heard**2) / np.mean(rest**2)) < 45


def test_peaks_are_kept_inside_sixteen_bits() -> None:
    samples, gain = as_16_bits(np.array([0.0, 2.0, -1.0], np.float32))
    assert samples.tolist() == [0, 32439, -16219 - 1] or samples.tolist() == [0, 32439, -16220]
    assert gain == pytest.approx(20 * np.log10(0.495))
    assert as_16_bits(np.array([0.5, -0.25], np.float32))[1] == 0.0


def test_silent_noise_is_refused(voices_folder: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "noise" / "nothing.wav", np.zeros(16000, np.float32))
    with pytest.raises(CorpusError, match="the noise is silent where somebody speaks"):
        made(voices_folder, tmp_path / "out", replace(SHORT, noise=5.0), noise_folder(tmp_path / "noise"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no audio"):
        noise_folder(tmp_path / "empty")
    with pytest.raises(CorpusError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        noise_folder(voices_folder / "nowhere")
    write_audio(tmp_path / "noise" / os.fsdecode(b"\xff.wav"), tone(1.0))
    with pytest.raises(CorpusError, match="not UTF-8"):
        noise_folder(tmp_path / "noise")


# --- the whole


def test_a_corpus_comes_out_that_keeps_people_apart(voices_folder: Path, tmp_path: Path) -> None:
    told = made(voices_folder, tmp_path / "out")
    corpus = load_corpus(tmp_path / "out")
    assert {split: len(each) for split, each in corpus.splits.items()} == {"eval": 1, "train": 4, "calib": 1}
    assert corpus.shared_speakers() == {}
    heard = [set(one.reference.labels()) for one in corpus.split("all")]
    assert all(len(people) in (2, 3) for people in heard)
    known = [set(people) for people in told.people.values()]
    assert sum(map(len, known)) == len(set.union(*known)) == 9
    assert min(map(len, known)) == 3
    for split, summary in zip(told.people, summarize_splits(corpus), strict=True):
        assert (summary.split, summary.annotated) == (split, summary.duration)
    summaries = summarize_recordings(corpus)
    for one, summary in zip(told.recordings, summaries, strict=True):
        assert summary.duration == 30.0
        assert summary.overlap_share == pytest.approx(one.conversation.overlap_share, abs=1e-6)
    share = sum(one.overlap for one in summaries) / sum(one.speech for one in summaries)
    assert share == pytest.approx(0.1, abs=0.02)
    written = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert written["settings"]["speakers"] == [2, 3]
    assert written["recordings"][0]["snr"] is None
    turn = written["recordings"][0]["turns"][0]
    assert turn["source"].startswith(turn["speaker"] + "/")
    assert str(voices_folder) not in json.dumps(written)


def test_the_same_seed_is_the_same_files_and_another_is_not(voices_folder: Path, tmp_path: Path) -> None:
    given = replace(SHORT, noise=10.0, band="telephone", noise_kind="speech-shaped", minutes=1.0)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        made(voices_folder, tmp_path / name, replace(given, seed=seed))

    def files(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert files("one") == files("two")
    assert files("one") != files("three")


def test_levels_of_noise_share_their_words(voices_folder: Path, tmp_path: Path) -> None:
    made(voices_folder, tmp_path / "clean")
    made(voices_folder, tmp_path / "loud", replace(SHORT, noise=0.0))
    for path in (tmp_path / "clean" / "rttm").iterdir():
        assert path.read_text() == (tmp_path / "loud" / "rttm" / path.name).read_text()


def test_no_overlap_is_none_at_all(voices_folder: Path, tmp_path: Path) -> None:
    made(voices_folder, tmp_path / "out", replace(SHORT, overlap=0.0))
    assert [one.overlap for one in summarize_recordings(load_corpus(tmp_path / "out"))] == [0.0] * 6


def test_what_people_say_is_heard_where_the_reference_says(voices_folder: Path, tmp_path: Path) -> None:
    """Bursts are 60 dB above what lies between: the reference says where the sound is, but for its edges."""
    made(voices_folder, tmp_path / "out", replace(SHORT, overlap=0.2))
    for path in sorted((tmp_path / "out" / "audio").iterdir()):
        samples = samples_of(path)
        loud = np.sqrt(np.mean(samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2, axis=1)) > 0.003
        spoken = np.zeros(len(loud), bool)
        for line in (tmp_path / "out" / "rttm" / f"{path.stem}.rttm").read_text().splitlines():
            start, long = (float(part) for part in line.split()[3:5])
            spoken[round(start * 100) : round((start + long) * 100)] = True
        assert not (loud & ~spoken).sum() > 5
        assert (spoken & ~loud).sum() < 0.06 * spoken.sum()  # 30 ms at either edge of 1.46 s


def test_few_people_or_recordings_give_fewer_splits(tmp_path: Path) -> None:
    few = write_voices(tmp_path / "few", 5, seconds=6.0)
    assert list(made(few, tmp_path / "a", replace(SHORT, speakers=(2, 2))).people) == ["eval", "train"]
    assert list(made(few, tmp_path / "b").people) == ["eval"]
    short = made(few, tmp_path / "c", replace(SHORT, speakers=(2, 2), minutes=0.4))
    assert [(one.split, one.duration) for one in short.recordings] == [("eval", 24.0)]
    with pytest.raises(CorpusError, match=r"5 people .* and conversations of 6: .* or give --speakers 5"):
        made(few, tmp_path / "d", replace(SHORT, speakers=(2, 6)))


def test_somebody_silent_is_named(tmp_path: Path) -> None:
    write_voices(tmp_path / "speech", 3, seconds=5.0)
    for number in range(2):
        write_audio(tmp_path / "speech" / "p01" / f"{number}.wav", np.zeros(16000, np.float32))
    with pytest.raises(CorpusError, match="nobody is heard in the recordings of 'p01'"):
        made(tmp_path / "speech", tmp_path / "out", replace(SHORT, speakers=(3, 3)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overlap": 0.6}, "an overlap of 0.6: give a share"),
        ({"overlap": float("nan")}, "an overlap of nan"),
        ({"speakers": (3, 2)}, "3-2 speakers"),
        ({"speakers": (1, 2)}, "one speaker alone cannot overlap"),
        ({"minutes": 0.0}, "0 minutes in recordings of 5"),
        ({"minutes": float("inf")}, "inf minutes"),
        ({"length": 0.01}, "in recordings of 0.01"),
        ({"noise": float("nan")}, "noise at nan dB"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        SimulationSettings(**given)  # type: ignore[arg-type]
