import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyannote.core import Segment, Timeline

from objectives.corpora.corpus import SPLIT_NAMES
from objectives.corpora.sources import AMI_SPLITS, load_corpus
from objectives.errors import CorpusError
from tests.support.corpora import encode_audio, rttm, tone, write_audio, write_recording

# --- folders --------------------------------------------------------------------------------------------------------


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


def _blank_rttm(folder: Path) -> None:
    (folder / "a.rttm").write_text("\n")


def _blank_uem(folder: Path) -> None:
    (folder / "a.uem").write_text("")


def _rttm_is_a_link_to_nowhere(folder: Path) -> None:
    (folder / "a.rttm").unlink()
    (folder / "a.rttm").symlink_to("gone.rttm")


def _splits_are_a_link_to_nowhere(folder: Path) -> None:
    (folder / "splits.json").symlink_to("gone.json")


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
        (_drop_rttm, ["a.wav: no RTTM mentions 'a': put a.rttm"]),
        (_other_uri, ["a.rttm: mentions 'z' but not 'a'"]),
        (_no_turns, ["a.rttm: has no SPEAKER line: write down what", "a.wav holds, or remove both"]),
        (_blank_rttm, ["a.rttm: is empty: write down what", "a.wav holds, or remove both"]),
        (_blank_uem, ["a.uem: is empty: write down which parts of", "a.wav are annotated, or remove the UEM"]),
        (_rttm_is_a_link_to_nowhere, ["no RTTM mentions 'a' (", "a.rttm: a link to gone.rttm, which is not there)"]),
        (_splits_are_a_link_to_nowhere, ["splits.json: cannot be read (No such file or directory)"]),
        (_malformed, ["a.rttm, line 2: 4 fields"]),
        (_not_utf8, ["a.rttm: byte 29 is not UTF-8"]),
        (_past_end, ["a.rttm: 'a': a turn of ana from 1.500 s to 2.060 s lies past the end of the audio (2.000 s"]),
        (_uem_past_end, ["a: the UEM says", "a.wav is annotated to 2.060 s, and it ends at 2.000 s"]),
        (_uem_other_uri, ["a.uem: mentions 'z' but not 'a'"]),
        (_nobody_where_annotated, ["a.rttm: nobody speaks in the annotated part of 'a' (0.250 s)"]),
        (_empty_audio, ["a.wav: the audio is empty"]),
        (_unreadable_audio, ["a.wav: not readable as audio"]),
        (_two_audio, ["a.wav", "a.flac have one URI, 'a'"]),
        (_two_rttm, ["a.wav: ", "one.rttm", "two.rttm both mention 'a'"]),
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


# --- SIMSAMU --------------------------------------------------------------------------------------------------------


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
    with pytest.raises(CorpusError, match=r"nowhere: is not a folder"):
        load_corpus("simsamu:nowhere")


def test_simsamu_without_the_hub_says_how_to_go_on(tmp_path: Path) -> None:
    code = (
        "from objectives.corpora.sources import load_corpus\nfrom objectives.errors import CorpusError\n"
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


# --- AMI excerpts ---------------------------------------------------------------------------------------------------


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
