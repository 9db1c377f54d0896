"""What a user asks for, written to a real disk that is full: one error with the file and the remedy, nothing half left,
what was there before still there, and with room again the same goes on. See tests/faults/README.md."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import explorer.bundle.export
import explorer.bundle.parity
from explorer.bundle.bundle import read_bundle
from explorer.bundle.export import export_trial
from explorer.cli import app
from explorer.report.report import PAGE, write_report
from explorer.storage.connection import load_study
from objectives.errors import BundleError, CorpusError, ExplorerError, StudyError
from objectives.operating_point import BASELINE
from tests.faults.disks import FILLER, fill, make_room, on_small_disk
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.corpora import write_audio
from tests.support.export_study import LOW_BIT, Exports

KB = 1024
SPARE = (64 * KB, 8000 * KB)  # no model fits, and some do


def leave(disk: Path, spare: int) -> None:
    """Fill a disk but for so many bytes."""
    (disk / "spare").write_bytes(bytes(spare))
    fill(disk)
    (disk / "spare").unlink()


def below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != FILLER
    }


def refused(disk: Path, spare: int, write: Callable[[], object], error: type[ExplorerError], names: Path) -> None:
    """`write` is refused in one error while the disk has so few bytes, and changes nothing."""
    before = below(disk)
    leave(disk, spare)
    with pytest.raises(error) as caught:
        write()
    make_room(disk)
    told = str(caught.value)
    assert str(names) in told
    assert "No space left on device" in told
    assert "make room" in told
    assert "\n" not in told
    assert below(disk) == before


def typed(*words: object) -> None:
    raised = CliRunner().invoke(app, [*map(str, words)]).exception
    if raised is not None and not (isinstance(raised, SystemExit) and not raised.code):
        raise raised


def test_an_export(exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer.bundle.export, "build_evaluator", lambda settings: exports.evaluator)
    monkeypatch.setattr(explorer.bundle.parity, "LIVE_SECONDS", 3.0)

    def body(disk: Path) -> None:
        folder = disk / "point"

        def export() -> None:
            export_trial(exports.study, exports.trials[BASELINE], folder, force=folder.exists())

        for spare in SPARE:
            refused(disk, spare, export, BundleError, folder)
        export()
        before = read_bundle(folder)
        refused(disk, SPARE[-1], export, BundleError, folder)  # with --force: the old one stays
        assert read_bundle(folder).manifest == before.manifest

    on_small_disk(tmp_path / "disk", "100m", body)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('bare')}/studies.db"
    run_study("bare", small_study(trials=0, fixed={}, corpus="/home/ana/gone"), AnalyticEvaluator(), url)
    return url


def test_a_report(bare: str, tmp_path: Path) -> None:
    def body(disk: Path) -> None:
        folder = disk / "report"

        def report() -> None:
            write_report(load_study("bare", bare), folder, force=folder.exists())

        refused(disk, 0, report, StudyError, folder)
        refused(disk, 64 * KB, report, StudyError, folder)
        report()
        refused(disk, 64 * KB, report, StudyError, folder)
        assert (folder / PAGE).read_text().rstrip().endswith("</html>")

    on_small_disk(tmp_path / "disk", "20m", body)


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_a_plot(bare: str, tmp_path: Path, suffix: str) -> None:
    def body(disk: Path) -> None:
        path = disk / f"front{suffix}"
        words = ("front", "bare", "--storage", bare, "--plot", path)
        refused(disk, 8 * KB, lambda: typed(*words), StudyError, path)
        typed(*words)
        refused(disk, 8 * KB, lambda: typed(*words), StudyError, path)

    on_small_disk(tmp_path / "disk", "20m", body)


def test_final_turns(exports: Exports, tmp_path: Path) -> None:
    audio = write_audio(tmp_path / "call.wav", exports.evaluator.recordings[0].waveform())

    def body(disk: Path) -> None:
        path = disk / "call.rttm"
        words = ("diarize", audio, "--point", exports.folders[LOW_BIT], "--rttm", path)
        refused(disk, 0, lambda: typed(*words), CorpusError, path)
        typed(*words)
        refused(disk, 0, lambda: typed(*words), CorpusError, path)
        assert path.read_text().startswith("SPEAKER call 1 ")

    on_small_disk(tmp_path / "disk", "1m", body)
