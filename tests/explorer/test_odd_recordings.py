"""Recordings as they come: other rates, formats and lengths, silence, and names with spaces and accents."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from objectives.corpora.sources import load_corpus
from objectives.evaluation.evaluator import Evaluator
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE
from tests.explorer.search.test_refused_studies import commands
from tests.support.corpora import rttm
from tests.support.export_study import Exports
from tests.support.muxing import mux

PLAIN = "dev00"
SPACED = "appel n° 1 à l'été"


def write_copies(folder: Path, excerpts: Path) -> Path:
    """Copies of one real excerpt that sound as it does, all but the silent one, each with its turns."""
    whole, _ = soundfile.read(excerpts / f"{PLAIN}.wav", dtype="float32")
    turns = (excerpts / f"{PLAIN}.rttm").read_text()
    wide = resample_poly(whole, 441, 160).astype(np.float32)
    made: dict[str, tuple[np.ndarray, int, str]] = {
        "plain": (whole, SAMPLE_RATE, "PCM_16"),
        "float": (whole, SAMPLE_RATE, "FLOAT"),
        "24-bit": (whole, SAMPLE_RATE, "PCM_24"),
        "8 kHz": (resample_poly(whole, 1, 2).astype(np.float32), 8000, "PCM_16"),
        "44.1 kHz stereo": (np.stack([wide, wide], 1), 44_100, "PCM_16"),
        "offset": (whole + 0.25, SAMPLE_RATE, "FLOAT"),
        "clipped": (np.clip(whole * 8, -1, 1), SAMPLE_RATE, "PCM_16"),
        "silent": (np.zeros_like(whole), SAMPLE_RATE, "PCM_16"),
        SPACED: (whole, SAMPLE_RATE, "PCM_16"),
    }
    for name, (samples, rate, kind) in made.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype=kind)
        (folder / f"{name}.rttm").write_text(turns.replace(f" {PLAIN} ", f" {'_'.join(name.split())} "))
    soundfile.write(folder / "50 ms.wav", whole[:800], SAMPLE_RATE, subtype="PCM_16")
    (folder / "50 ms.rttm").write_text(rttm("<NA>", [(0.0, 0.05, "ana")]))
    (folder / "splits.json").write_text(json.dumps({"eval": [*made, "50 ms"]}))
    return folder


@pytest.fixture(scope="module")
def copies(excerpts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_copies(tmp_path_factory.mktemp("copies"), excerpts)


def test_copies_of_a_recording_have_about_its_errors(copies: Path, exports: Exports) -> None:
    recordings = load_corpus(str(copies)).split("eval")
    evaluator = exports.evaluator
    own = Evaluator(
        recordings, evaluator.accuracy, evaluator.compressor, evaluator.stopwatch, evaluator.identity, evaluator.machine
    )
    found = own.errors(BASELINE)
    der = {uri: counts.der for uri, counts in found.items() if uri != "50 ms"}
    plain = found["plain"]
    for uri in ("float", "24-bit", SPACED, "44.1 kHz stereo"):
        # a quarter of a second of ten: resampled, edges of turns lie some frames away, and whole turns change names
        assert der[uri] == pytest.approx(der["plain"], abs=2.5), der
    for uri in ("8 kHz", "offset", "clipped"):  # the model hears these otherwise, and still hears speech
        assert found[uri].missed_detection < plain.total / 2, der
    silent = found["silent"]
    assert silent.missed_detection == pytest.approx(silent.total)
    assert (silent.false_alarm, silent.confusion) == (0.0, 0.0)
    assert all(counts.total == pytest.approx(plain.total) for uri, counts in found.items() if uri != "50 ms")
    # a collar of 0.5 s leaves nothing of it to score
    assert found["50 ms"].total == 0.0


def test_a_folder_of_odd_recordings_passes_the_check(copies: Path, exports: Exports, tmp_path: Path) -> None:
    point = str(exports.folders[BASELINE])
    written = tmp_path / "turns.rttm"
    runs = [
        (tmp_path, ["corpus", str(copies), "--check", "--format", "csv"]),
        (tmp_path, ["diarize", str(copies / f"{SPACED}.wav"), "--point", point, "--rttm", str(written)]),
        (tmp_path, ["diarize", str(copies / "50 ms.wav"), "--point", point]),
        (tmp_path, ["diarize", str(copies / "silent.wav"), "--point", point]),
    ]
    for (_, arguments), (said, code) in zip(runs, commands(runs), strict=True):
        assert code == 0, (arguments, said)
    uris = {line.split()[1] for line in written.read_text().splitlines()}
    assert uris == {"_".join(SPACED.split())}
    # so what diarize wrote of such a recording is a reference for it
    (copies / f"{SPACED}.rttm").write_text(written.read_text())
    assert SPACED in {recording.uri for recording in load_corpus(str(copies)).split("eval")}


def test_what_is_to_be_known_of_a_file_is_said(excerpts: Path, exports: Exports, tmp_path: Path) -> None:
    whole, _ = soundfile.read(excerpts / f"{PLAIN}.wav", dtype="float32")
    wide = resample_poly(whole, 3, 1).astype(np.float32)
    middle = len(wide) // 2
    people = [np.concatenate([wide[:middle], 0 * wide[middle:]]), np.concatenate([0 * wide[:middle], wide[middle:]])]
    folder = tmp_path / "odd"
    folder.mkdir()
    mux(folder / "two.mka", people, 48_000, "flac")
    soundfile.write(folder / "twisted.wav", np.stack([whole, -whole], 1), SAMPLE_RATE)
    turns = (excerpts / f"{PLAIN}.rttm").read_text()
    for name in ("two", "twisted"):
        (folder / f"{name}.rttm").write_text(turns.replace(f" {PLAIN} ", f" {name} "))
    point = str(exports.folders[BASELINE])
    diarize = ["diarize", "--point", point]
    runs = [
        (tmp_path, ["corpus", str(folder), "--check"]),
        (tmp_path, [*diarize, str(folder / "two.mka")]),
        (tmp_path, [*diarize, str(folder / "two.mka"), "--track", "1"]),
        (tmp_path, [*diarize, str(folder / "two.mka"), "--track", "3"]),
        (tmp_path, [*diarize, str(folder / "twisted.wav"), "--rttm", "twisted.rttm"]),
        (tmp_path, [*diarize, str(excerpts / f"{PLAIN}.wav"), "--rttm", "plain.rttm"]),
    ]
    checked, both, first, third, twisted, _ = commands(runs)
    mixed, alone = "its 2 audio tracks are mixed into one", "its channels cancel each other out"
    assert checked[1] == 0
    assert f"two: {mixed}" in checked[0]
    assert f"twisted: {alone}" in checked[0]
    assert mixed in both[0]
    assert mixed not in first[0]
    assert third[1] == 1
    assert "has no track 3" in third[0]
    assert alone in twisted[0]
    # one channel of two is the recording itself
    written = [(tmp_path / f"{name}.rttm").read_text().replace(name, "x") for name in ("twisted", "plain")]
    assert written[0] == written[1].replace(f" {PLAIN} ", " x ")
    assert written[0]
