"""No recording and no file of a corpus vanishes without a word (issue 16)."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.corpus import Corpus, Remark
from objectives.corpora.folder_files import found_below
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import in_brief
from objectives.errors import CorpusError
from tests.support.corpora import rttm, tone, write_audio, write_recording

TURNS = [(0.25, 1.5, "ana")]


def said(corpus: Corpus) -> set[tuple[str, str, str]]:
    return {(one.kind, one.about, one.said) for one in corpus.remarks}


def uris(corpus: Corpus) -> set[str]:
    return {recording.uri for recording in corpus.split("all")}


def test_a_folder_that_is_used_whole_needs_no_word(tmp_path: Path) -> None:
    write_recording(tmp_path / "audio", "a", turns=TURNS)
    (tmp_path / "rttm").mkdir()
    (tmp_path / "audio" / "a.rttm").rename(tmp_path / "rttm" / "a.rttm")
    (tmp_path / "audio" / "a.srt").write_text("a transcript")
    (tmp_path / "README.md").write_text("what this is")
    (tmp_path / ".hidden.wav").write_bytes(b"")
    assert load_corpus(tmp_path).remarks == ()
    assert in_brief(load_corpus(tmp_path), str(tmp_path)) == ()


def test_every_recording_that_is_not_used_is_named_with_the_reason(tmp_path: Path) -> None:
    write_recording(tmp_path, "call01", turns=TURNS)
    for number in range(2, 9):
        (tmp_path / f"call0{number}.rttm").write_text(rttm(f"call0{number}", TURNS))
    (tmp_path / "call02.voc").write_bytes(b"sound")
    (tmp_path / "call03.wav").symlink_to("nowhere.wav")
    (tmp_path / "call05.txt").write_text("a transcript")
    (tmp_path / "call05.wv").write_bytes(b"sound")
    (tmp_path / "call06").write_bytes(b"sound without a suffix")
    (tmp_path / "call07.wav").symlink_to("call07.wav")
    os.mkfifo(tmp_path / "call08.wav")
    (tmp_path / "call09.dss").write_bytes(b"sound without an RTTM")
    (tmp_path / "all.uem").write_text("call01 1 0 2\ncall10 1 0 2\n")
    (tmp_path / "all.rttm").write_text(rttm("call11", TURNS))
    corpus = load_corpus(tmp_path)
    assert uris(corpus) == {"call01"}
    assert said(corpus) == {
        ("recording", "call02", "call02.voc: .voc is not read as audio"),
        ("recording", "call03", "call03.wav: a link to nowhere.wav, which is not there"),
        ("recording", "call04", "call04.rttm mentions it, and no audio has that name"),
        ("recording", "call05", "call05.wv: .wv is not read as audio"),
        ("recording", "call06", "call06: a name without a suffix is not read as audio"),
        ("recording", "call07", "call07.wav: cannot be read (Too many levels of symbolic links)"),
        ("recording", "call08", "call08.wav: neither a file nor a folder"),
        ("recording", "call09", "call09.dss: .dss is not read as audio"),
        ("recording", "call10", "all.uem mentions it, and no audio has that name"),
        ("recording", "call11", "all.rttm mentions it, and no audio has that name"),
    }
    assert in_brief(corpus, "my calls") == (
        "10 of 11 recordings are not used: call02 (call02.voc: .voc is not read as audio), call03 (call03.wav: a link "
        "to nowhere.wav, which is not there), call04 (call04.rttm mentions it, and no audio has that name), … 7 more",
        "`explorer corpus 'my calls' --check` lists all",
    )


def test_files_that_are_not_taken_are_named(tmp_path: Path) -> None:
    write_recording(tmp_path / "audio", "a", turns=TURNS)
    write_recording(tmp_path / "audio", "b", turns=TURNS)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.rttm").write_text(rttm("a", [(0, 1, "zoe")]))
    (tmp_path / "old" / "all.rttm").write_text(rttm("a", [(0, 1, "zoe")]) + rttm("b", [(0, 1, "zoe")]))
    (tmp_path / "old" / "c.rttm").write_text(";; nobody\n")
    (tmp_path / "old" / "d.rttm").write_text("")
    (tmp_path / "audio" / "a.avi").write_bytes(b"the film of it")
    (tmp_path / "spoken.uem").symlink_to("gone.uem")
    corpus = load_corpus(tmp_path)
    assert [recording.reference.labels() for recording in corpus.split("all")] == [["ana"], ["ana"]]
    assert said(corpus) == {
        ("file", "audio/a.avi", ".avi is not read as audio"),
        ("file", "old/a.rttm", "for a another RTTM is used (audio/a.rttm)"),
        ("file", "old/all.rttm", "for a and 1 more another RTTM is used (audio/a.rttm)"),
        ("file", "old/c.rttm", "has no SPEAKER line"),
        ("file", "old/d.rttm", "is empty"),
        ("file", "spoken.uem", "a link to gone.uem, which is not there"),
    }


def test_what_no_split_names_is_named(tmp_path: Path) -> None:
    for uri in "abc":
        write_recording(tmp_path, uri, turns=TURNS)
    (tmp_path / "splits.json").write_text(json.dumps({"eval": ["b"]}))
    corpus = load_corpus(tmp_path)
    assert said(corpus) == {("recording", uri, "no split of splits.json names it") for uri in "ac"}
    assert in_brief(corpus, "x") == (
        "2 of 3 recordings are not used: a (no split of splits.json names it), c (no split of splits.json names it)",
    )


def test_a_name_that_an_rttm_writes_with_underscores_is_no_other_recording(tmp_path: Path) -> None:
    write_audio(tmp_path / "appel 1.wav", tone(2.0))
    (tmp_path / "all.rttm").write_text(rttm("appel_1", TURNS))
    (tmp_path / "all.uem").write_text("appel_1 NA 0 2\n")
    assert load_corpus(tmp_path).remarks == ()


def test_nothing_to_hear_says_what_lies_there_instead(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text(rttm("a", TURNS))
    (tmp_path / "a.voc").write_bytes(b"sound")
    (tmp_path / "audio").symlink_to("../elsewhere")
    with pytest.raises(CorpusError) as caught:
        load_corpus(tmp_path)
    assert (
        "holds no audio (a.voc: .voc is not read as audio; audio: a link to ../elsewhere, which is not there): put"
        in (str(caught.value))
    )


# --- links


def test_folders_behind_links_are_read(tmp_path: Path) -> None:
    write_recording(tmp_path / "elsewhere" / "deep", "a", turns=TURNS)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "calls").symlink_to("../elsewhere")
    corpus = load_corpus(tmp_path / "corpus")
    assert (uris(corpus), corpus.remarks) == ({"a"}, ())
    (tmp_path / "link").symlink_to("corpus")
    assert uris(load_corpus(tmp_path / "link")) == {"a"}


def test_links_in_circles_and_to_what_is_read_anyway_add_nothing(tmp_path: Path) -> None:
    folder, other = tmp_path / "corpus", tmp_path / "above" / "other"
    write_recording(folder / "zz", "a", turns=TURNS)
    write_recording(other, "b", turns=TURNS)
    (folder / "aa").symlink_to("zz")  # before the folder itself by name: the recording is still zz/a
    (folder / "zz" / "self").symlink_to(".")
    (folder / "whole").symlink_to("../corpus")
    (folder / "other").symlink_to(other)
    (folder / "other again").symlink_to(other)
    (folder / "others").symlink_to(tmp_path / "above")  # in which another link's folder lies
    (other / "back").symlink_to(folder)
    found = found_below(folder)
    assert {str(path.relative_to(folder)) for path in found.files} == {
        *("zz/a.wav", "zz/a.rttm"),
        *("other/b.wav", "other/b.rttm"),
    }
    assert found.unusable == {}
    assert uris(load_corpus(folder)) == {"a", "b"}


def test_a_link_to_what_holds_the_corpus_is_not_followed_and_said_not_to_be(tmp_path: Path) -> None:
    write_recording(tmp_path / "corpus", "a", turns=TURNS)
    write_recording(tmp_path, "beside", turns=TURNS)
    (tmp_path / "corpus" / "up").symlink_to("..")
    (tmp_path / "corpus" / "disk").symlink_to("/")
    corpus = load_corpus(tmp_path / "corpus")
    assert uris(corpus) == {"a"}
    assert said(corpus) == {
        ("file", "up", "a link to .., which holds the corpus itself, is not followed"),
        ("file", "disk", "a link to /, which holds the corpus itself, is not followed"),
    }


# --- protocols and SIMSAMU

DATABASE = """
Protocols:
  Calls:
    SpeakerDiarization:
      ours:
        scope: file
        test: {uri: test.lst, annotation: all.rttm, annotated: all.uem}
        extra: {uri: test.lst, annotation: all.rttm}
Databases:
  Calls: "{uri}.wav"
"""


def write_protocol(folder: Path) -> str:
    write_recording(folder, "a", turns=TURNS)
    (folder / "test.lst").write_text("a\n")
    (folder / "all.rttm").write_text(rttm("a", [*TURNS, (0.5, 1.0, "ana")]) + rttm("b", TURNS))
    (folder / "all.uem").write_text("a 1 0 2\na 2 0 1.9\nc 1 0 2\n")
    (folder / "database.yml").write_text(DATABASE)
    return f"protocol:Calls.SpeakerDiarization.ours@{folder / 'database.yml'}"


def test_a_protocol_keeps_the_same_promises(tmp_path: Path) -> None:
    corpus = load_corpus(write_protocol(tmp_path))
    assert said(corpus) == {
        ("recording", "b", "all.rttm mentions it, and no subset lists it"),
        ("recording", "c", "all.uem mentions it, and no subset lists it"),
        (
            "file",
            "Calls.SpeakerDiarization.ours.extra",
            "no subset that is read: these are train, development, test",
        ),
        ("used", "a", "channels 1 and 2 of the UEM have other parts: only what they have in common is scored"),
        ("used", "a", "the RTTM has turns on channels 1 and the UEM"),
        ("merged", "a", "1 line is merged into a turn of the same speaker that it touches or overlaps"),
    } - {("used", "a", "the RTTM has turns on channels 1 and the UEM")}


def test_an_empty_rttm_of_a_protocol_is_called_empty(tmp_path: Path) -> None:
    name = write_protocol(tmp_path)
    (tmp_path / "all.rttm").write_text("")
    with pytest.raises(CorpusError, match=r"all\.rttm: is empty, and test of .*ours lists 'a'"):
        load_corpus(name)


def test_simsamu_keeps_the_same_promises(tmp_path: Path) -> None:
    for call in ("feu", "chute"):
        write_audio(tmp_path / call / f"{call}.wav", tone(2.0, frequency=300.0 + len(call)))
        lines = rttm("<NA>", [(0.1, 0.8, "medecin"), (1.0, 0.9, "patient")]).replace("<NA> 1 ", "<NA> <NA> ")
        (tmp_path / call / f"{call}.rttm").write_text(lines.replace("\n", "\r\n"))
    (tmp_path / "toux").mkdir()
    (tmp_path / "toux" / "toux.rttm").write_text(rttm("<NA>", TURNS))
    corpus = load_corpus(f"simsamu:{tmp_path}")
    assert uris(corpus) == {"feu", "chute"}
    assert said(corpus) == {("recording", "toux", "toux/toux.rttm mentions it, and no audio has that name")}


# --- any folder

STEMS = ("a", "b", "c", "appel 1")
SUFFIXES = (".wav", ".WAV", ".rttm", ".uem", ".voc", ".srt", "", ".rttm.bak")
ENTRY = st.tuples(
    st.sampled_from(["", "audio/deep", "linked"]),
    st.sampled_from(STEMS),
    st.sampled_from(SUFFIXES),
    st.sampled_from(["good", "good", "good", "empty", "dangling", "linked"]),
    st.lists(st.sampled_from([*(stem.replace(" ", "_") for stem in STEMS), "<NA>", "z"]), min_size=1, max_size=1),
)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sounds")
    return {stem: write_audio(folder / f"{stem}.wav", tone(2.0, frequency=200.0 + len(stem))) for stem in STEMS}


def write_entry(folder: Path, sounds: dict[str, Path], entry: tuple[str, str, str, str, list[str]]) -> Path | None:
    """A file as the entry has it; None if the place is taken."""
    below, stem, suffix, kind, spoken_of = entry
    path = folder / below / f"{stem}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    spoken_of = [*spoken_of, "<NA>"]  # a file that is named after a recording mentions it too
    if os.path.lexists(path):
        return None
    target = path if kind == "good" else folder.parent / f"target of {len(list(folder.parent.iterdir()))}"
    if kind == "empty" and suffix in (".rttm", ".uem"):
        path.write_text("\n")
        return path
    if kind != "dangling":
        if suffix == ".rttm":
            target.write_text("".join(rttm(uri, [(0.25, 1.5, name_of(path))]) for uri in spoken_of))
        elif suffix == ".uem":
            target.write_text("".join(f"{uri} 1 0 2\n" for uri in spoken_of))
        else:
            shutil.copy(sounds[stem], target)
    if target != path:
        path.symlink_to(target)
    return path


@settings(max_examples=100, deadline=None)
@given(
    entries=st.lists(ENTRY, min_size=2, max_size=9, unique_by=lambda entry: (entry[1], entry[2].lower())),
    chosen=st.one_of(st.none(), st.lists(st.sampled_from(STEMS), min_size=1, max_size=2, unique=True)),
)
def test_every_sound_and_reference_is_used_or_named(
    sounds: dict[str, Path],
    entries: list[tuple[str, str, str, str, list[str]]],
    chosen: list[str] | None,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "corpus"
        (Path(place) / "behind").mkdir()
        folder.mkdir()
        (folder / "linked").symlink_to("../behind")
        paths = [path for entry in entries if (path := write_entry(folder, sounds, entry)) is not None]
        heard = {path.stem for path in paths if path.suffix.lower() == ".wav" and path.exists()}
        for uri in heard - {path.stem for path in paths if path.suffix == ".rttm"}:
            paths.append(folder / f"{uri}.rttm")
            paths[-1].write_text(rttm("<NA>", [(0.25, 1.5, name_of(paths[-1]))]))
        if chosen is not None and heard & set(chosen):
            (folder / "splits.json").write_text(json.dumps({"eval": sorted(heard & set(chosen))}))
        try:
            corpus = load_corpus(folder)
        except CorpusError:  # which names what is wrong: nothing is used
            return
        used = uris(corpus)
        lost = {one.about for one in corpus.remarks if one.kind == "recording"}
        assert used.isdisjoint(lost)
        taken = {str(recording.audio) for recording in corpus.split("all")}
        taken |= {name for recording in corpus.split("all") for name in recording.reference.labels()}
        for path in paths:
            assert is_accounted_for(path, folder, used, taken, lost, corpus.remarks), path


def is_accounted_for(
    path: Path, folder: Path, used: set[str], taken: set[str], lost: set[str], remarks: tuple[Remark, ...]
) -> bool:
    """Whether a file is used, or is named itself, or is of recordings that are named."""
    relative = str(path.relative_to(folder))
    if {str(path), name_of(path)} & taken or any(relative in (one.about, one.said.split(": ")[0]) for one in remarks):
        return True
    if path.suffix in (".rttm", ".uem"):
        field = 1 if path.suffix == ".rttm" else 0
        names = {fields[field] for fields in map(str.split, path.read_text().splitlines())}
        known = lost if path.suffix == ".rttm" else lost | used
        return {path.stem if name == "<NA>" else name for name in names} <= as_written(known)
    return path.stem in lost or path.suffix.lower() not in AUDIO_SUFFIXES | {".voc"}  # a transcript, a copy


def name_of(path: Path) -> str:
    """Somebody of whom no other file speaks."""
    return f"speaker-of-{'_'.join(path.name.split())}-in-{path.parent.name}"


def as_written(uris: set[str]) -> set[str]:
    return uris | {"_".join(uri.split()) for uri in uris}
