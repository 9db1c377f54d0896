import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Segment, Timeline

from objectives._rttm import parse_rttm, parse_uem
from objectives._splits import seeded_splits
from objectives.corpus import SPLIT_NAMES
from objectives.errors import CorpusError
from objectives.sources import AMI_SPLITS, load_corpus
from tests.objectives.corpora import encode_audio, rttm, tone, write_audio, write_recording

HERE = Path("x.rttm")


# --- RTTM and UEM -------------------------------------------------------------------------------------------------


def test_rttm_turns() -> None:
    text = (
        ";; a comment\n\n"
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown ana <NA> <NA>\n"
        "SPEAKER a 1 0.5 1.25 <NA> <NA> ana <NA> <NA>\r\n"
        "SPEAKER a 1 1 2e0 <NA> <NA> bea <NA>\n"
        "SPEAKER b 1 0.5 1.25 <NA> <NA> ana <NA> <NA>"
    )
    parsed = parse_rttm(text, HERE)
    assert [(s.start, s.end, who) for s, _, who in parsed["a"].itertracks(yield_label=True)] == [
        (0.5, 1.75, "ana"),
        (1.0, 3.0, "bea"),
    ]
    assert list(parsed) == ["a", "b"]


def test_two_speakers_may_have_the_very_same_turn() -> None:
    parsed = parse_rttm(rttm("a", [(0, 1, "ana"), (0, 1, "bea")]), HERE)
    assert parsed["a"].labels() == ["ana", "bea"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("SPEAKER a 1 0 1 <NA> <NA> ana", "8 fields instead of 9 or 10"),
        ("SPEAKER a 1 0 1 <NA> <NA> ana maria <NA> <NA>", "11 fields instead of 9 or 10"),
        ("SPEAKER", "1 fields instead of 9 or 10"),
        ("speaker a 1 0 1 <NA> <NA> ana <NA> <NA>", "unknown RTTM type 'speaker'"),
        ("SPEAKER a 1 zero 1 <NA> <NA> ana <NA> <NA>", "start 'zero' is not a number"),
        ("SPEAKER a 1 nan 1 <NA> <NA> ana <NA> <NA>", "start 'nan' is not a number"),
        ("SPEAKER a 1 0 inf <NA> <NA> ana <NA> <NA>", "duration 'inf' is not a number"),
        ("SPEAKER a 1 0 1_000 <NA> <NA> ana <NA> <NA>", "duration '1_000' is not a number"),
        ("SPEAKER a 1 0 1,5 <NA> <NA> ana <NA> <NA>", "duration '1,5' is not a number"),
        ("SPEAKER a 1 -0.5 1 <NA> <NA> ana <NA> <NA>", "start -0.5 s is negative"),
        ("SPEAKER a 1 0 -1 <NA> <NA> ana <NA> <NA>", "duration -1 s is negative"),
        ("SPEAKER a 1 0 0.000 <NA> <NA> ana <NA> <NA>", "has no length"),
        ("SPEAKER a 1 1e308 1e308 <NA> <NA> ana <NA> <NA>", "has no length"),
        ("SPEAKER a 1 0 1 <NA> <NA> <NA> <NA> <NA>", "no speaker name"),
    ],
)
def test_malformed_rttm_line(line: str, complaint: str) -> None:
    with pytest.raises(CorpusError) as caught:
        parse_rttm(f"{rttm('a', [(0, 1, 'ana')])};; a comment\n{line}\n", HERE)
    assert str(caught.value).startswith("x.rttm, line 3: ")
    assert complaint in str(caught.value)


def test_uem_parts_are_merged() -> None:
    parsed = parse_uem(";; parts\na NA 0.000 10.0\na NA 9.0 12.5\nb 1 3 4\n", Path("x.uem"))
    assert parsed == {"a": Timeline([Segment(0, 12.5)]), "b": Timeline([Segment(3, 4)])}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a NA 0", "3 fields instead of 4"),
        ("a NA 0 x", "end 'x' is not a number"),
        ("a NA -1 3", "start -1 s is negative"),
        ("a NA 3 3", "from 3 s to 3 s has no length"),
        ("a NA 4 3", "from 4 s to 3 s has no length"),
    ],
)
def test_malformed_uem_line(line: str, complaint: str) -> None:
    with pytest.raises(CorpusError) as caught:
        parse_uem(f"a NA 0 1\n{line}\n", Path("x.uem"))
    assert str(caught.value).startswith("x.uem, line 2: ")
    assert complaint in str(caught.value)


FIELD = st.sampled_from(["SPEAKER", "LEXEME", "<NA>", "a", "1", "0.5", "1e400", "-0", "1e-9", "nan", "٣", ";;", "\x0c"])
LIKE_A_LINE = st.lists(FIELD, max_size=11).map(" ".join)
TEXT = st.one_of(st.text(), st.lists(st.one_of(LIKE_A_LINE, st.text(max_size=10)), max_size=5).map("\n".join))


@given(TEXT)
def test_any_text_is_an_rttm_or_a_corpus_error(text: str) -> None:
    try:
        parsed = parse_rttm(text, HERE)
    except CorpusError:
        return
    for uri, reference in parsed.items():
        assert uri
        assert all(0 <= turn.start < turn.end < float("inf") for turn in reference.itersegments())


@given(TEXT)
def test_any_text_is_a_uem_or_a_corpus_error(text: str) -> None:
    try:
        parsed = parse_uem(text, Path("x.uem"))
    except CorpusError:
        return
    for parts in parsed.values():
        assert all(0 <= part.start < part.end < float("inf") for part in parts)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from("abc")), min_size=1, max_size=8)
)
def test_rttm_round_trip(turns: list[tuple[int, int, str]]) -> None:
    wanted = sorted((start / 1000, start / 1000 + length / 1000, who) for start, length, who in turns)
    parsed = parse_rttm(rttm("u", [(start / 1000, length / 1000, who) for start, length, who in turns]), HERE)["u"]
    assert sorted((s.start, s.end, who) for s, _, who in parsed.itertracks(yield_label=True)) == wanted


# --- splits drawn from a seed -------------------------------------------------------------------------------------


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=40), st.integers(0, 5), st.randoms())
def test_seeded_splits_are_disjoint_complete_and_independent_of_order(
    uris: set[str], seed: int, chance: random.Random
) -> None:
    order = sorted(uris)
    chance.shuffle(order)
    splits = seeded_splits(order, seed)
    members = [uri for chosen in splits.values() for uri in chosen]
    assert sorted(members) == sorted(uris)
    assert splits == seeded_splits(sorted(uris), seed)
    assert splits["eval"]
    assert all(splits.values())


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, (0, 0, 1)),
        (2, (1, 0, 1)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (5, (2, 1, 2)),
        (10, (6, 1, 3)),
        (61, (37, 6, 18)),
    ],
)
def test_sizes_of_seeded_splits(count: int, sizes: tuple[int, int, int]) -> None:
    splits = seeded_splits((f"call{i}" for i in range(count)), seed=0)
    assert tuple(len(splits.get(name, ())) for name in ("train", "calib", "eval")) == sizes


def test_another_seed_draws_other_splits() -> None:
    uris = [f"call{i}" for i in range(20)]
    assert len({seeded_splits(uris, seed)["eval"] for seed in range(5)}) == 5


# --- folders ------------------------------------------------------------------------------------------------------


def test_flat_folder_with_uem(tmp_path: Path) -> None:
    write_recording(tmp_path, "a", turns=[(0.25, 0.5, "ana"), (0.5, 1.0, "bea")])
    (tmp_path / "a.uem").write_text("a NA 0.0 1.5\n")
    corpus = load_corpus(str(tmp_path))
    (recording,) = corpus.split("eval")
    assert (corpus.name, recording.uri, recording.duration) == (tmp_path.name, "a", 2.0)
    assert recording.annotated == Timeline([Segment(0, 1.5)])
    assert recording.reference.labels() == ["ana", "bea"]
    assert recording.reference.uri == "a"
    assert recording.waveform().shape == (32_000,)


def test_sibling_folders_and_splits_file(tmp_path: Path) -> None:
    for uri, frequency in (("a", 200.0), ("b", 300.0), ("c", 400.0)):
        write_audio(tmp_path / "audio" / f"{uri}.flac", tone(1.0, frequency=frequency))
        (tmp_path / "rttm").mkdir(exist_ok=True)
        (tmp_path / "rttm" / f"{uri}.rttm").write_text(rttm(uri, [(0, 1, "ana")]))
    (tmp_path / "splits.json").write_text(json.dumps({"eval": ["c", "a"], "train": ["b"], "test": []}))
    corpus = load_corpus(tmp_path)
    assert [recording.uri for recording in corpus.split("eval")] == ["c", "a"]
    assert corpus.split("eval")[0].annotated == Timeline([Segment(0, 1)])  # no UEM: all of it
    assert [recording.uri for recording in corpus.split("all")] == ["c", "a", "b"]


def test_one_rttm_for_all_and_hidden_files(tmp_path: Path) -> None:
    for uri in "ab":
        write_recording(tmp_path / uri, uri)
        (tmp_path / uri / f"{uri}.rttm").unlink()
    (tmp_path / "reference.rttm").write_text("".join(rttm(uri, [(0, 1, "ana")]) for uri in "abc"))
    (tmp_path / "._a.wav").write_bytes(b"left by another system")
    assert {recording.uri for recording in load_corpus(tmp_path).split("all")} == {"a", "b"}


def test_the_rttm_beside_the_audio_wins(tmp_path: Path) -> None:
    write_recording(tmp_path / "audio", "a", turns=[(0, 1, "ana")])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.rttm").write_text(rttm("a", [(0, 1, "zoe")]))
    assert load_corpus(tmp_path).split("eval")[0].reference.labels() == ["ana"]


def test_an_accent_may_be_composed_on_one_side_only(tmp_path: Path) -> None:
    uri = "trñ00"
    write_audio(tmp_path / f"{unicodedata.normalize('NFD', uri)}.wav", tone(1.0))
    (tmp_path / "all.rttm").write_text(rttm(unicodedata.normalize("NFC", uri), [(0, 1, "ana")]), encoding="utf-8")
    assert load_corpus(tmp_path).split("eval")[0].uri == unicodedata.normalize("NFC", uri)


def test_a_turn_may_end_one_frame_after_the_audio_and_is_cut(tmp_path: Path) -> None:
    write_recording(tmp_path, "a", seconds=2.0, turns=[(1.0, 1.04, "ana")])
    (recording,) = load_corpus(tmp_path).split("eval")
    assert recording.reference.get_timeline().extent() == Segment(1.0, 2.0)


def test_same_splits_from_two_copies_of_a_folder(tmp_path: Path) -> None:
    for uri in "abcdefgh":
        write_recording(tmp_path / "one" / "calls", uri)
    (tmp_path / "two" / "calls").mkdir(parents=True)
    for path in sorted((tmp_path / "one" / "calls").iterdir(), reverse=True):
        (tmp_path / "two" / "calls" / path.name).write_bytes(path.read_bytes())
    one, two = (load_corpus(tmp_path / copy / "calls", seed=3) for copy in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    assert {name: [r.uri for r in rs] for name, rs in one.splits.items()} == {
        name: [r.uri for r in rs] for name, rs in two.splits.items()
    }


# Each: what is done to a good folder of recordings a and b, and what is said of it


def _drop_rttm(folder: Path) -> None:
    (folder / "a.rttm").unlink()


def _other_uri(folder: Path) -> None:
    (folder / "a.rttm").write_text(rttm("z", [(0, 1, "ana")]))


def _no_turns(folder: Path) -> None:
    (folder / "a.rttm").write_text(";; nobody\n")


def _malformed(folder: Path) -> None:
    (folder / "a.rttm").write_text(rttm("a", [(0, 1, "ana")]) + "SPEAKER a 1 oops\n")


def _not_utf8(folder: Path) -> None:
    (folder / "a.rttm").write_bytes("SPEAKER a 1 0 1 <NA> <NA> José <NA> <NA>\n".encode("latin-1"))


def _past_end(folder: Path) -> None:
    (folder / "a.rttm").write_text(rttm("a", [(0, 1, "ana"), (1.5, 0.56, "ana")]))


def _uem_past_end(folder: Path) -> None:
    (folder / "a.uem").write_text("a NA 0 2.06\n")


def _uem_other_uri(folder: Path) -> None:
    (folder / "a.uem").write_text("z NA 0 2\n")


def _nobody_where_annotated(folder: Path) -> None:
    (folder / "a.uem").write_text("a NA 1.75 2.0\n")


def _empty_audio(folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"")


def _unreadable_audio(folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"RIFF and nothing else")


def _two_audio(folder: Path) -> None:
    write_audio(folder / "more" / "a.flac", tone(2.0))


def _two_rttm(folder: Path) -> None:
    (folder / "a.rttm").unlink()
    (folder / "one.rttm").write_text(rttm("a", [(0, 1, "ana")]))
    (folder / "two.rttm").write_text(rttm("a", [(0, 1, "ana")]))


def _same_audio(folder: Path) -> None:
    (folder / "b.wav").write_bytes((folder / "a.wav").read_bytes())


def _splits(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "splits.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop_rttm, ["a.wav: no RTTM speaks of 'a': put a.rttm"]),
        (_other_uri, ["a.rttm: speaks of 'z' and not of 'a'"]),
        (_no_turns, ["a.rttm: speaks of no recording at all and not of 'a'"]),
        (_malformed, ["a.rttm, line 2: 4 fields"]),
        (_not_utf8, ["a.rttm: byte 29 is not UTF-8"]),
        (_past_end, ["a.rttm: 'a': a turn of ana from 1.500 s to 2.060 s lies past the end of the audio (2.000 s"]),
        (_uem_past_end, ["a: the UEM says", "a.wav is annotated to 2.060 s, and it ends at 2.000 s"]),
        (_uem_other_uri, ["a.uem: speaks of 'z' and not of 'a'"]),
        (_nobody_where_annotated, ["a.rttm: nobody speaks in the annotated part of 'a' (0.250 s)"]),
        (_empty_audio, ["a.wav: the audio is empty"]),
        (_unreadable_audio, ["a.wav: not readable as audio"]),
        (_two_audio, ["a.wav", "a.flac have one URI, 'a'"]),
        (_two_rttm, ["a.wav: ", "one.rttm", "two.rttm both speak of 'a'"]),
        (_same_audio, ["are the same audio", "a.wav (split ", "b.wav (split "]),
        (_splits('{"eval": ["a"], "train": ["b", "a"]}'), ["splits.json: 'a' is in split eval and again in train"]),
        (_splits('{"eval": ["a", "c"]}'), ["splits.json: split 'eval' names 'c', and no audio file"]),
        (_splits('{"dev": ["a"]}'), ["splits.json: unknown split 'dev': use train, calib, eval, test"]),
        (_splits('{"eval": "a"}'), ["splits.json: split 'eval' must be a list"]),
        (_splits('["a"]'), ["splits.json: must be an object", "not a list"]),
        (_splits('{"eval": ["a"'), ["splits.json: is not JSON"]),
        (_splits('{"eval": []}'), ["splits.json: names no recording"]),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path: Path, spoil: Callable[[Path], object], said: list[str]) -> None:
    for uri in "ab":
        write_recording(tmp_path, uri)
    load_corpus(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CorpusError) as caught:
        load_corpus(tmp_path)
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_nan_samples_are_an_error_once_they_are_heard(tmp_path: Path) -> None:
    write_recording(tmp_path, "a")
    samples = tone(2.0)
    samples[100] = np.nan
    write_audio(tmp_path / "a.wav", samples)
    (recording,) = load_corpus(tmp_path).split("eval")
    with pytest.raises(CorpusError, match=r"a\.wav: the sample at 0\.006 s is nan"):
        recording.waveform()


def test_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no audio: put audio files and their RTTM there"):
        load_corpus(tmp_path)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CorpusError, match=r"unknown corpus 'amy'.*ami-excerpts, simsamu .*folder.*protocol:NAME"):
        load_corpus("amy")


# --- SIMSAMU ------------------------------------------------------------------------------------------------------


def write_simsamu(folder: Path) -> None:
    """The layout of the Hub: 8 kHz AAC, an RTTM whose URI is <NA>, roles for names, and a table of who played them."""
    for number, call in enumerate(("ab_2022_feu", "cd_2023_chute", "ef_2023_toux")):
        encode_audio(folder / call / f"{call}.m4a", tone(2.0, 8000, 300.0 + 50 * number), 8000)
        turns = [(0.1, 0.8, "medecin"), (1.0, 0.9, "patient")]
        (folder / call / f"{call}.rttm").write_text(rttm("<NA>", turns).replace("<NA> 1 ", "<NA> <NA> ", 2))
        (folder / call / f"{call}.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\n[medecin] Allô\n")
        (folder / call / f"{call}.json").write_text("{}")


@pytest.mark.parametrize("prefix", ["simsamu:", ""])
def test_simsamu_layout(tmp_path: Path, prefix: str) -> None:
    write_simsamu(tmp_path / "calls")
    corpus = load_corpus(f"{prefix}{tmp_path / 'calls'}")
    assert corpus.name == ("simsamu" if prefix else "calls")
    assert {name: len(recordings) for name, recordings in corpus.splits.items()} == {"train": 1, "calib": 1, "eval": 1}
    for recording in corpus.split("all"):
        assert recording.duration == pytest.approx(2.0, abs=0.01)
        assert recording.waveform().shape == (round(recording.duration * 16_000),)
        assert recording.reference.labels() == ["medecin", "patient"]
    assert corpus.shared_speakers() == {}  # roles are nobody


def test_simsamu_table_names_the_people_behind_the_roles(tmp_path: Path) -> None:
    write_simsamu(tmp_path)
    (tmp_path / "metadata.csv").write_text(
        "rec_name,medecin,patient\nab_2022_feu,speaker_1,speaker_2\ncd_2023_chute,speaker_2,speaker_3\n"
    )
    corpus = load_corpus(f"simsamu:{tmp_path}")
    heard = {recording.uri: set(recording.reference.labels()) for recording in corpus.split("all")}
    assert heard == {
        "ab_2022_feu": {"simsamu_speaker_1", "simsamu_speaker_2"},
        "cd_2023_chute": {"simsamu_speaker_2", "simsamu_speaker_3"},
        "ef_2023_toux": {"medecin", "patient"},
    }
    assert list(corpus.shared_speakers()) == ["simsamu_speaker_2"]


def test_simsamu_folder_that_is_not_there() -> None:
    with pytest.raises(CorpusError, match=r"nowhere: is no folder"):
        load_corpus("simsamu:nowhere")


def test_simsamu_without_the_hub_says_how_to_go_on(tmp_path: Path) -> None:
    code = (
        "from objectives.sources import load_corpus\nfrom objectives.errors import CorpusError\n"
        "try: load_corpus('simsamu')\nexcept CorpusError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "medkit/simsamu cannot be had from the Hugging Face Hub" in done.stdout
    assert "pass a local copy as simsamu:FOLDER" in done.stdout


# --- pyannote.database --------------------------------------------------------------------------------------------

DATABASE = """
Protocols:
  Calls:
    SpeakerDiarization:
      mini:
        train: {uri: train.lst, annotation: reference.rttm, annotated: all.uem}
        development: {uri: development.lst, annotation: "rttm/{uri}.rttm"}
        test: {uri: test.lst, annotation: "rttm/{uri}.rttm"}
      only_test:
        scope: file
        test: {uri: test.lst, annotation: "rttm/{uri}.rttm"}
Databases:
  Calls: audio/{uri}.wav
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    for subset, uri in (("train", "a"), ("development", "b"), ("test", "c")):
        write_recording(tmp_path / "audio", uri)
        (tmp_path / "rttm").mkdir(exist_ok=True)
        (tmp_path / "audio" / f"{uri}.rttm").rename(tmp_path / "rttm" / f"{uri}.rttm")
        (tmp_path / f"{subset}.lst").write_text(f"{uri}\n\n")
    (tmp_path / "reference.rttm").write_text((tmp_path / "rttm" / "a.rttm").read_text())
    (tmp_path / "all.uem").write_text("a NA 0 1.25\n")
    (tmp_path / "database.yml").write_text(DATABASE)
    return tmp_path / "database.yml"


def test_protocol(database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    corpus = load_corpus(f"protocol:Calls.SpeakerDiarization.mini@{database}")
    assert {name: [r.uri for r in rs] for name, rs in corpus.splits.items()} == {
        "train": ["a"],
        "calib": ["b"],
        "eval": ["c"],
    }
    assert corpus.split("train")[0].annotated == Timeline([Segment(0, 1.25)])
    assert corpus.split("eval")[0].annotated == Timeline([Segment(0, 2.0)])
    assert corpus.name == "Calls.SpeakerDiarization.mini"
    assert capfd.readouterr().out == ""  # pyannote.database prints that no scope is given: JSON would break


def test_protocol_from_the_environment(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYANNOTE_DATABASE_CONFIG", str(database))
    corpus = load_corpus("protocol:Calls.SpeakerDiarization.only_test")
    assert [recording.uri for recording in corpus.split("eval")] == ["c"]
    with pytest.raises(CorpusError, match=r"no recording in split 'train': use one of eval \(1\), all"):
        corpus.split("train")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("rttm/c.rttm", "SPEAKER c 1 0 -1 <NA> <NA> ana <NA> <NA>\n", r"c\.rttm, line 1: duration -1 s is negative"),
        ("rttm/c.rttm", "SPEAKER z 1 0 1 <NA> <NA> ana <NA> <NA>\n", r"c\.rttm: speaks of 'z' and not of 'c'"),
        ("all.uem", "a NA 0\n", r"all\.uem, line 1: 3 fields"),
        ("all.uem", "b NA 0 1\n", r"all\.uem: speaks of 'b' and not of 'a'"),
        ("reference.rttm", "SPEAKER a 1\n", r"reference\.rttm, line 1: 3 fields"),
        ("test.lst", "c\nd\n", r"test file 'd': FileNotFoundError"),
        ("test.lst", "a\n", r"recording 'a' is in split train and again in split eval"),
        ("database.yml", "Protocols: [", r"database\.yml"),
        ("database.yml", "Protocols: {}", r"Calls.*configuration: .*database\.yml"),
    ],
)
def test_what_is_wrong_with_a_protocol(database: Path, file: str, content: str, said: str) -> None:
    (database.parent / file).write_text(content)
    with pytest.raises(CorpusError, match=said):
        load_corpus(f"protocol:Calls.SpeakerDiarization.mini@{database}")


def test_protocol_names(database: Path) -> None:
    with pytest.raises(CorpusError, match=r"write protocol:Database\.SpeakerDiarization\.Protocol"):
        load_corpus(f"protocol:Calls@{database}")
    with pytest.raises(CorpusError, match=r"protocol Calls\.SpeakerDiarization\.maxi: KeyError: 'maxi'"):
        load_corpus(f"protocol:Calls.SpeakerDiarization.maxi@{database}")
    with pytest.raises(CorpusError, match=r"nowhere\.yml: no such file"):
        load_corpus("protocol:Calls.SpeakerDiarization.mini@nowhere.yml")


# --- AMI excerpts -------------------------------------------------------------------------------------------------


def test_ami_excerpts() -> None:
    corpus = load_corpus("ami-excerpts")
    assert {name: tuple(r.uri for r in recordings) for name, recordings in corpus.splits.items()} == AMI_SPLITS
    assert set(corpus.splits) <= set(SPLIT_NAMES)
    assert len(corpus.split("all")) == 14
    for recording in corpus.split("all"):
        assert recording.duration == 30.0  # the files last 30 s more, which nobody annotated
        assert recording.annotated == Timeline([Segment(0, 30)])
        assert recording.waveform().shape == (480_000,)
        assert np.abs(recording.waveform()).max() > 0.01  # 32-bit float: read as integers it would be silence
    assert corpus.shared_speakers() == {}  # no meeting is in two splits
    assert corpus.split("train")[0].reference.labels() == ["MEE067", "MEE068", "MÉO069"]
