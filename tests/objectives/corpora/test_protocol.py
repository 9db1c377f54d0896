from pathlib import Path

import pytest
from pyannote.core import Segment, Timeline

from objectives.corpora.sources import load_corpus
from objectives.errors import CorpusError
from tests.support.corpora import write_recording

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
        ("rttm/c.rttm", "SPEAKER z 1 0 1 <NA> <NA> ana <NA> <NA>\n", r"c\.rttm: mentions 'z' but not 'c'"),
        ("all.uem", "a NA 0\n", r"all\.uem, line 1: 3 fields"),
        ("all.uem", "b NA 0 1\n", r"all\.uem: mentions 'b' but not 'a'"),
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


def test_meta_protocol(database: Path) -> None:
    meta = "\n  X:\n    SpeakerDiarization:\n      All:\n        test:\n"
    meta += "          Calls.SpeakerDiarization.mini: [train, test]\nDatabases:"
    database.write_text(DATABASE.replace("\nDatabases:", meta))
    corpus = load_corpus(f"protocol:X.SpeakerDiarization.All@{database}")
    assert [recording.uri for recording in corpus.split("eval")] == ["a", "c"]
