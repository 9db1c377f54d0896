"""A cache of one's own: what it lends, what it finds wrong in the kept one, and that it goes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.cache import model_store
from objectives.cache.files import CACHE_VARIABLE, cache_dir
from objectives.cache.model_store import StoredModel, kept_model, models_dir, release
from objectives.cache.scratch import FOLDER, fresh_cache, passing_cache

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test's own, with an asset."""
    folder = tmp_path / "cache"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "weights").write_bytes(b"pinned")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    yield folder
    release()


def model(content: bytes = b"model", **made_from: Any) -> StoredModel:
    def make(target: Path) -> Mapping[str, Any]:
        target.write_bytes(content)
        return {"params": 1}

    return kept_model(made_from, ".bin", make)


def write_windows(folder: Path, **rows: list[int]) -> Path:
    """A file of classes by window end."""
    path = folder / "windows" / "key" / "recording.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, ends=[int(end[1:]) for end in rows], classes=np.array(list(rows.values()), np.uint8))
    return path


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_inside_it_is_the_cache_and_empty_but_for_assets_and_then_it_is_gone(cache: Path) -> None:
    kept = model(source=None)

    def use() -> None:
        with fresh_cache() as fresh:
            assert cache_dir() == fresh.folder != cache
            assert (cache_dir() / "assets" / "weights").read_bytes() == b"pinned"
            assert model(source=None).path.parent == fresh.folder / "models" != kept.path.parent
            raise KeyError  # it goes all the same

    with pytest.raises(KeyError):
        use()
    assert cache_dir() == cache
    assert [path.name for path in (cache / FOLDER).iterdir()] == []
    assert kept.path.read_bytes() == b"model"
    assert (cache / "assets" / "weights").read_bytes() == b"pinned"


def test_models_are_lent_with_their_sources_and_no_others() -> None:
    source, other = model(precision="fp32"), model(precision="fp16")
    wanted = model(precision="int8_ptq", source=source.key)

    def never(target: Path) -> Mapping[str, Any]:
        raise AssertionError("made again")

    with fresh_cache([wanted.key, "unknown"]) as fresh:
        assert set(fresh.models) == {wanted.key, source.key}
        assert kept_model({"precision": "fp32"}, ".bin", never).sha256 == source.sha256
        assert not (models_dir() / other.path.name).exists()
        assert fresh.differing() == {}


def test_a_damaged_model_is_not_lent_and_is_named() -> None:
    damaged = model(precision="fp32")
    damaged.path.write_bytes(b"mode1")
    with fresh_cache([damaged.key]) as fresh:
        assert fresh.models == {}
        assert [path for path, _ in fresh.differing().items()] == [damaged.path]


def test_kept_files_that_are_not_what_comes_out_are_named(cache: Path) -> None:
    names = {
        "features/a.npy": b"old",
        "features/b.npy": b"same",
        "models/c.float.v2.onnx": b"graph",
        "features/x": b"?",
    }
    kept = {name: write(cache, name, content) for name, content in names.items()}
    windows = write_windows(cache, e160=[1, 2], e320=[3, 4], e480=[5, 6])
    with fresh_cache() as fresh:
        for name, content in (names | {"features/a.npy": b"new", "features/x": b"!", "features/new.npy": b""}).items():
            write(fresh.folder, name, content)
        write_windows(fresh.folder, e160=[1, 2], e320=[3, 0], e640=[7, 8])
        assert fresh.differing() == {
            kept["features/a.npy"]: "is not what comes out now",
            windows: "has other classes in 1 of 2 windows",
        }
        windows.write_bytes(b"PK, but no archive")
        assert "is damaged" in fresh.differing()[windows]
        write_windows(cache, e160=[1, 2])
        assert windows not in fresh.differing()


@pytest.mark.parametrize("name", ["features", "windows", "models", "recovery"])
def test_whatever_is_computed_is_compared(cache: Path, name: str) -> None:
    kept = write(cache, f"{name}/below/a.npy", b"old")
    with fresh_cache() as fresh:
        write(fresh.folder, f"{name}/below/a.npy", b"new")
        assert fresh.differing() == {kept: "is not what comes out now"}


@pytest.mark.parametrize("opened", [fresh_cache, passing_cache])
def test_no_model_of_a_folder_that_went_stays_open(opened: Any) -> None:
    """Else a disk keeps the bytes of deleted files for as long as the process lives."""
    with opened():
        model(source=None)
        assert model_store._held
    assert not model_store._held


KILLED = (
    "from objectives.cache.scratch import fresh_cache\n"
    "with fresh_cache() as fresh: print(fresh.folder, flush=True); input()"
)


def test_a_passing_cache_keeps_models_and_nothing_else(cache: Path) -> None:
    kept = model(source=None)
    features = write(cache, "features/a.npy", b"of a call")

    def never(target: Path) -> Mapping[str, Any]:
        raise AssertionError("made again")

    def use() -> None:
        with passing_cache() as folder:
            assert cache_dir() == folder != cache
            assert folder.stat().st_mode & 0o777 == 0o700
            assert kept_model({"source": None}, ".bin", never).sha256 == kept.sha256
            model(precision="fp16")
            assert not (cache_dir() / "features").exists()
            write(cache_dir(), "features/b.npy", b"made up")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert cache_dir() == cache
    assert list((cache / FOLDER).iterdir()) == []
    assert [path.name for path in (cache / "features").iterdir()] == ["a.npy"]
    assert features.read_bytes() == b"of a call"
    assert kept_model({"precision": "fp16"}, ".bin", never).path.is_file()


@pytest.mark.parametrize("opened", [fresh_cache, passing_cache])
def test_what_a_killed_process_left_goes_and_what_another_uses_stays(cache: Path, opened: Any) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            left = Path(process.stdout.readline().strip())
            with opened():
                assert left.is_dir()
                assert cache_dir() != left
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert left.is_dir()
    with opened():
        assert not left.exists()
