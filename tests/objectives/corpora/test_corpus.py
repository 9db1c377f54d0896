import dataclasses
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from pyannote.core import Annotation, Segment, Timeline

from objectives.corpora.corpus import Corpus, Recording, is_local_name
from objectives.corpora.summary import summarize_recordings, summarize_splits
from objectives.errors import CorpusError
from tests.support.corpora import tone, write_audio


def recording(folder: Path, uri: str, *turns: tuple[float, float, str], seconds: float = 1.0) -> Recording:
    """Turns are start, end, speaker; the sound differs for every URI."""
    samples = tone(seconds, frequency=200.0 + sum(uri.encode()))
    reference = Annotation(uri=uri)
    for number, (start, end, speaker) in enumerate(turns or ((0.0, 0.5, "ana"),)):
        reference[Segment(start, end), number] = speaker
    annotated = Timeline([Segment(0.0, seconds)], uri=uri)
    return Recording(uri, write_audio(folder / f"{uri}.wav", samples), seconds, reference, annotated)


def test_waveform_is_exactly_as_long_as_the_recording(tmp_path: Path) -> None:
    whole = recording(tmp_path, "a", seconds=2.0)
    part = dataclasses.replace(whole, duration=0.70003)  # 11200.48 samples
    assert part.waveform().shape == (11_200,)
    np.testing.assert_array_equal(part.waveform(), whole.waveform()[:11_200])
    assert whole.waveform().dtype == np.float32


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf")])
def test_a_recording_lasts(tmp_path: Path, duration: float) -> None:
    with pytest.raises(CorpusError, match=r"a\.wav: a duration of"):
        dataclasses.replace(recording(tmp_path, "a"), duration=duration)


def test_content_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    one = recording(tmp_path, "a")
    assert one.content_hash == hashlib.sha256(one.audio.read_bytes()).hexdigest()
    travelled = pickle.loads(pickle.dumps(one))  # as a worker gets it
    assert travelled == one
    one.audio.unlink()
    assert travelled.content_hash == one.content_hash  # read once
    with pytest.raises(CorpusError, match=r"a\.wav: cannot read the audio"):
        _ = dataclasses.replace(one).content_hash


def test_splits_by_name(tmp_path: Path) -> None:
    a, b, c = (recording(tmp_path, uri) for uri in "abc")
    corpus = Corpus("calls", {"train": (b,), "calib": (), "eval": (c, a)})
    assert corpus.split("eval") == (c, a)
    assert corpus.split("all") == (b, c, a)
    for missing in ("calib", "test", "Eval"):
        with pytest.raises(
            CorpusError,
            match=rf"'calls' has no recording in split '{missing}': use one of train \(1\), eval \(2\), all",
        ):
            corpus.split(missing)
    with pytest.raises(CorpusError, match="use one of none"):
        Corpus("nothing", {}).split("all")


def test_splits_must_not_share_a_uri(tmp_path: Path) -> None:
    a = recording(tmp_path, "a")
    with pytest.raises(CorpusError, match="recording 'a' is in split train and again in split eval"):
        Corpus("calls", {"train": (a,), "eval": (a,)})
    with pytest.raises(CorpusError, match="recording 'a' is in split eval and again in split eval"):
        Corpus("calls", {"eval": (a, a)})


def test_splits_must_not_share_audio_under_two_names(tmp_path: Path) -> None:
    a, b = recording(tmp_path, "a"), recording(tmp_path, "b")  # the same size
    Corpus("calls", {"train": (a,), "eval": (b,)})
    copied = dataclasses.replace(b, audio=tmp_path / "copy.wav")
    copied.audio.write_bytes(a.audio.read_bytes())
    with pytest.raises(CorpusError, match=r"a\.wav \(split train\) and .*copy\.wav \(split eval\) are the same audio"):
        Corpus("calls", {"train": (a,), "eval": (copied,)})
    Corpus("calls", {"eval": (a, copied)})  # twice in one split gives nothing away


def test_fingerprint_covers_all_that_an_evaluation_depends_on(tmp_path: Path) -> None:
    a, b = recording(tmp_path, "a", (0, 0.5, "ana"), (0.25, 0.75, "bea")), recording(tmp_path, "b")
    corpus = Corpus("calls", {"train": (a,), "eval": (b,)})

    renamed = a.reference.rename_labels({"ana": "zoe"})
    longer = a.reference.copy()
    longer[Segment(0.9, 1.0), "x"] = "ana"
    other_sound = write_audio(tmp_path / "other.wav", tone(1.0, frequency=999.0))
    variants = [
        Corpus("talks", corpus.splits),
        Corpus("calls", {"calib": (a,), "eval": (b,)}),
        Corpus("calls", {"train": (a, b)}),
        Corpus("calls", {"train": (dataclasses.replace(a, uri="A"),), "eval": (b,)}),
        Corpus("calls", {"train": (dataclasses.replace(a, duration=0.99),), "eval": (b,)}),
        Corpus("calls", {"train": (dataclasses.replace(a, audio=other_sound),), "eval": (b,)}),
        Corpus("calls", {"train": (dataclasses.replace(a, reference=renamed),), "eval": (b,)}),
        Corpus("calls", {"train": (dataclasses.replace(a, reference=longer),), "eval": (b,)}),
        Corpus("calls", {"train": (dataclasses.replace(a, annotated=Timeline([Segment(0, 0.9)])),), "eval": (b,)}),
    ]
    assert len({corpus.fingerprint, *(variant.fingerprint for variant in variants)}) == len(variants) + 1


def test_fingerprint_ignores_order_and_place(tmp_path: Path) -> None:
    a, b = recording(tmp_path, "a", (0, 0.5, "ana"), (0.25, 0.75, "bea")), recording(tmp_path, "b")
    moved_audio = tmp_path / "elsewhere" / "renamed.wav"
    moved_audio.parent.mkdir()
    moved_audio.write_bytes(a.audio.read_bytes())
    reordered = Annotation(uri="a")
    reordered[Segment(0.25, 0.75), "other"] = "bea"
    reordered[Segment(0, 0.5), "track"] = "ana"
    moved = dataclasses.replace(a, audio=moved_audio, reference=reordered)
    assert Corpus("calls", {"eval": (a, b)}).fingerprint == Corpus("calls", {"eval": (b, moved)}).fingerprint


@pytest.mark.parametrize(
    "name", ["speaker_01", "SPEAKER 3", "spk2", "S1", "A", "7", "unknown", "medecin", "patient_2", "Caller"]
)
def test_names_of_one_recording_only(name: str) -> None:
    assert is_local_name(name)


@pytest.mark.parametrize(
    "name", ["MEE009", "spk1235", "ana", "Agent Smith", "FEO070", "speaker_1042", "simsamu_speaker_3"]
)
def test_names_that_tell_who(name: str) -> None:
    assert not is_local_name(name)


def test_shared_speakers_are_reported(tmp_path: Path) -> None:
    corpus = Corpus(
        "calls",
        {
            "train": (recording(tmp_path, "a", (0, 0.5, "MEE009"), (0, 0.5, "spk1")),),
            "eval": (
                recording(tmp_path, "b", (0, 0.5, "MEE009"), (0, 0.5, "FEE001")),
                recording(tmp_path, "c", (0, 0.5, "FEE001"), (0, 0.5, "spk1")),
            ),
        },
    )
    assert corpus.shared_speakers() == {"MEE009": ("train", "eval")}


def test_summary_by_hand(tmp_path: Path) -> None:
    #  0    1    2    3    4    5    6    7    8    9    10     annotated: 0 … 8
    #  ana ana ana ana                             (9-10: zoe, not annotated)
    #       ana ana                                             inside ana's own turn: no overlap
    #            bea bea bea
    #                                spk1 spk1
    a = recording(
        tmp_path, "a", (0, 4, "ana"), (1, 3, "ana"), (2, 5, "bea"), (6, 8, "spk1"), (9, 10, "zoe"), seconds=10.0
    )
    a = dataclasses.replace(a, annotated=Timeline([Segment(0, 8)]))
    b = recording(tmp_path, "b", (0, 2, "ana"), (0, 2, "spk1"), seconds=4.0)  # one and the same turn, two speakers
    corpus = Corpus("calls", {"train": (), "eval": (a, b)})

    one, two = summarize_recordings(corpus)
    assert (one.uri, one.split, one.duration, one.annotated, one.speakers) == ("a", "eval", 10.0, 8.0, 3)
    assert (one.speech, one.overlap, one.overlap_share) == (7.0, 2.0, pytest.approx(2 / 7))
    assert (two.speech, two.overlap, two.overlap_share) == (2.0, 2.0, 1.0)

    (total,) = summarize_splits(corpus)
    assert (total.uri, total.split, total.recordings) == (None, "eval", 2)
    assert (total.duration, total.annotated, total.speech, total.overlap) == (14.0, 12.0, 9.0, 4.0)
    assert total.speakers == 4  # ana (in both), bea, and two different spk1
    assert total.overlap_share == pytest.approx(4 / 9)  # of the pool, no mean of shares
