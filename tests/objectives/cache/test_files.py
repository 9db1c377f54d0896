"""Files that are made once: between real processes, through kills and errors."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objectives.cache.files import CACHE_VARIABLE, content_key, kept_file, write_array
from objectives.errors import AssetError

PATIENCE = 30.0
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own; the folder of its kept files."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "things"


def writing(content: bytes) -> Callable[[Path], None]:
    """What makes a file of that content."""

    def make(target: Path) -> None:
        target.write_bytes(content)

    return make


def test_a_key_changes_with_every_ingredient_and_not_with_their_order() -> None:
    key = content_key(base="abc", precision="fp32", code=1)
    assert key == content_key(code=1, precision="fp32", base="abc")
    others = [
        content_key(base="abd", precision="fp32", code=1),
        content_key(base="abc", precision="fp16", code=1),
        content_key(base="abc", precision="fp32", code=2),
        content_key(base="abc", precision="fp32", code="1"),
        content_key(base="abc", precision="fp32"),
    ]
    assert len({key, *others}) == 6
    assert len(key) == 32


@pytest.mark.parametrize("lengths", [[], [0], [3, 0, 1], [1000] * 12])
def test_an_array_of_unknown_length_is_the_file_that_numpy_writes(tmp_path: Path, lengths: list[int]) -> None:
    rows = np.arange(2.0 * sum(lengths), dtype=np.float32).reshape(-1, 2)
    parts = np.split(rows, np.cumsum(lengths)[:-1]) if lengths else []
    write_array(tmp_path / "ours.npy", iter(parts), (2,), np.float32)
    np.save(tmp_path / "numpys.npy", rows)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()
    write_array(tmp_path / "row by row.npy", iter(rows), (2,), np.float32)
    assert (tmp_path / "row by row.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


def test_a_file_is_made_once_and_kept(cache: Path) -> None:
    path = kept_file("things", "one.bin", writing(b"made"))
    assert path == cache / "one.bin"

    def never(target: Path) -> None:
        raise AssertionError("made again")

    assert kept_file("things", "one.bin", never).read_bytes() == b"made"


def test_concurrent_processes_make_it_once(tmp_path: Path) -> None:
    barrier, log = FORK.Barrier(4), tmp_path / "log"

    def make(target: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.2)  # long enough for the others to come
        target.write_bytes(b"made")

    def ask() -> None:
        barrier.wait(PATIENCE)
        assert kept_file("things", "one.bin", make).read_bytes() == b"made"

    processes = [FORK.Process(target=ask, daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert log.read_text() == "made\n"


def test_a_kill_in_the_middle_leaves_no_half_file_and_no_waste(cache: Path) -> None:
    ours, theirs = FORK.Pipe()

    def half(target: Path) -> None:
        target.write_bytes(b"ha")
        theirs.send("half")
        time.sleep(PATIENCE)

    process = FORK.Process(target=kept_file, args=("things", "one.bin", half), daemon=True)
    process.start()
    assert ours.poll(PATIENCE)
    process.kill()
    process.join()
    assert not (cache / "one.bin").exists()
    assert [path.read_bytes() for path in cache.glob(".one.bin.*.bin")] == [b"ha"]  # what was left behind

    assert kept_file("things", "one.bin", writing(b"whole")).read_bytes() == b"whole"
    assert list(cache.glob(".one.bin.*.bin")) == []


def test_an_error_while_making_leaves_nothing_and_passes_through(cache: Path) -> None:
    def fail(target: Path) -> None:
        target.write_bytes(b"ha")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        kept_file("things", "one.bin", fail)
    assert [path.name for path in cache.iterdir() if path.suffix == ".bin"] == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(in_the_way))
    with pytest.raises(AssetError, match=f"{in_the_way}.*make room.*{CACHE_VARIABLE}"):
        kept_file("things", "one.bin", writing(b"made"))


def test_a_full_disk_says_so() -> None:
    def full(target: Path) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(AssetError, match="No space left on device"):
        kept_file("things", "one.bin", full)
