"""A folder appears whole or not at all, whatever happens meanwhile."""

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from explorer.atomic_files import appearing, descriptor_of, refuse_unwritable, write_whole
from objectives.errors import BundleError
from tests.faults.disks import on_read_only, on_small_disk
from tests.support.forked_processes import start
from tests.support.system_processes import wait_until


def write(folder: Path, text: str, replace: bool = False) -> None:
    with appearing(folder, replace) as staged:
        (staged / "file").write_text(text)
        assert staged.parent == folder.parent


def test_it_appears_and_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a [strange] name"
    write(folder, "one")
    assert (folder / "file").read_text() == "one"
    write(folder, "two", replace=True)
    assert (folder / "file").read_text() == "two"
    assert [*tmp_path.iterdir()] == [folder]


def test_it_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "point"
    with appearing(folder, replace=False) as staged:
        (staged / "file").write_text("half")
        assert not folder.exists()
    assert folder.exists()


@pytest.mark.parametrize("error", [BundleError("no"), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with appearing(tmp_path / "point", replace=False) as staged:
            (staged / "file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [*tmp_path.iterdir()] == []


def test_what_appeared_meanwhile_stays_where_nothing_is_to_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "point"
    with pytest.raises(BundleError, match="point: cannot be written"), appearing(folder, replace=False):
        write(folder, "quicker")
    assert (folder / "file").read_text() == "quicker"
    assert [*tmp_path.iterdir()] == [folder]


def test_folders_above_are_made_and_go_again_if_it_fails(tmp_path: Path) -> None:

    def fail(folder: Path, beside: str) -> None:
        with appearing(folder, replace=False) as staged:
            assert staged.parent == folder.parent
            if beside:
                (folder.parent / beside).touch()
            raise RuntimeError("a bug")

    folder = tmp_path / "a" / "b" / "point"
    with pytest.raises(RuntimeError, match="a bug"):
        fail(folder, "")
    assert [*tmp_path.iterdir()] == []
    write(folder, "one")
    assert (folder / "file").read_text() == "one"
    with pytest.raises(RuntimeError, match="a bug"):
        fail(tmp_path / "a" / "c" / "point", "of somebody")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "c"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Known before anything is made."""
    (tmp_path / "no").touch()
    remedy = "move away the file that is in the way, or give another DIR"
    with pytest.raises(BundleError, match=rf"/no/point: cannot be written .*: {remedy}"):
        write(tmp_path / "no" / "point", "one")
    long = "x" * 250  # with what comes before and after it while it is written, more than 255
    with pytest.raises(BundleError, match="take shorter names"):
        write(tmp_path / long, "one")

    def body(disk: Path) -> None:
        with pytest.raises(BundleError, match=r"a/point: cannot be written .*: permit writing there"):
            write(disk / "a" / "point", "one")

    (tmp_path / "disk").mkdir()
    on_read_only(tmp_path / "disk", body)


def test_where_a_disk_is_mounted_nothing_can_appear(tmp_path: Path) -> None:
    """As a volume of a container is: found when it would take its place, minutes would have been for nothing."""

    def body(disk: Path) -> None:
        for replace in (False, True):
            with pytest.raises(BundleError, match=r"is where a disk is mounted.*give a folder inside it"):
                write(disk, "one", replace)
        assert [*disk.iterdir()] == []
        write(disk / "point", "one")

    on_small_disk(tmp_path / "disk", "1m", body)


def test_a_file_is_tried_before_it_is_made(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new.rttm")
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "old.rttm").write_text("what was there")
    (tmp_path / "link.rttm").symlink_to("old.rttm")
    refuse_unwritable(tmp_path / "link.rttm")
    assert (tmp_path / "old.rttm").read_text() == "what was there"
    assert len([*tmp_path.iterdir()]) == 2
    refuse_unwritable(Path("/dev/null"))
    for path in (tmp_path / "no" / "x.rttm", tmp_path / "old.rttm" / "x.rttm", tmp_path / ("x" * 252)):
        with pytest.raises(OSError, match=r"No such file|Not a directory|File name too long"):
            refuse_unwritable(path)

    def body(disk: Path) -> None:
        for name in ("old.rttm", "new.rttm"):
            with pytest.raises(OSError, match="Read-only file system"):
                refuse_unwritable(disk / name)

    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.rttm").touch()
    on_read_only(tmp_path / "disk", body)


def test_a_folder_that_cannot_be_moved_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rename = tmp_path / "point", os.rename
    write(folder, "one")

    def refuse(source: Path, target: Path) -> None:
        if source.suffix == ".part":
            raise OSError(errno.EIO, "I/O error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(BundleError, match="I/O error"):
        write(folder, "two", replace=True)
    assert (folder / "file").read_text() == "one"
    assert [*tmp_path.iterdir()] == [folder]


def hang(folder: Path, begun: Path) -> None:
    with appearing(folder, replace=False) as staged:
        (staged / "file").write_text("half")
        begun.touch()
        threading.Event().wait()


def test_a_kill_leaves_nothing_under_the_name_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    above, begun = tmp_path / "above", tmp_path / "begun"
    above.mkdir()
    folder = above / "point"
    process = start(hang, folder, begun)
    wait_until(begun.exists)
    (half,) = above.iterdir()

    # who still writes is left alone, however long it takes
    write(folder, "one")
    assert sorted(above.iterdir()) == [half, folder]

    process.kill()
    process.join()
    assert (folder / "file").read_text() == "one"
    write(above / "another", "two")
    assert half.exists(), "of another name"
    write(folder, "three", replace=True)
    assert sorted(above.iterdir()) == [above / "another", folder]


def exchange_by_half(folder: Path, begun: Path) -> None:
    """Put what lies there aside, and hang before the new one takes its place."""

    def rename(source: Path, target: Path) -> None:
        if source.suffix == ".part":
            begun.touch()
            threading.Event().wait()
        os.replace(source, target)

    os.rename = rename
    write(folder, "two", replace=True)


def tidied(folder: Path) -> str | None:
    """What lies there once somebody began to write, and gave up."""
    found = None
    with suppress(BundleError), appearing(folder, replace=True):
        found = (folder / "file").read_text() if folder.exists() else None
        raise BundleError("given up")
    return found


def test_what_a_kill_caught_between_two_steps_comes_back(tmp_path: Path) -> None:
    above, begun = tmp_path / "above", tmp_path / "begun"
    above.mkdir()
    folder, longer = above / "point", above / "point.v2"
    write(folder, "one")
    write(longer, "another")
    process = start(exchange_by_half, folder, begun)
    wait_until(begun.exists)
    assert tidied(folder) is None, "whoever exchanges them still lives"
    process.kill()
    process.join()
    write(longer, "one more", replace=True)
    assert not folder.exists()
    assert tidied(folder) == "one"
    assert sorted(above.iterdir()) == [folder, longer]


def test_all_of_a_folder_is_on_the_disk_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, flushed = tmp_path / "point", set[int]()

    def note(handle: int) -> None:
        if not folder.exists():
            flushed.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    with appearing(folder, replace=False) as staged:
        (staged / "figures").mkdir()
        (staged / "figures" / "one.svg").write_text("one")
        (staged / "index.html").write_text("two")
    assert {path.stat().st_ino for path in (folder, *folder.rglob("*"))} == flushed


def test_a_file_takes_its_place_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "turns.rttm", tmp_path / "link"
    link.symlink_to(path)
    write_whole(path, b"one")
    write_whole(link, b"two")
    assert (link.is_symlink(), path.read_bytes()) == (True, b"two")

    def refuse(handle: int) -> None:
        assert path.read_bytes() == b"two", "still the one before"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"three")
    assert path.read_bytes() == b"two"
    assert sorted(tmp_path.iterdir()) == [link, path]
    write_whole(Path(os.devnull), b"nowhere")


def test_pipes_and_open_files_are_written_as_they_are(tmp_path: Path) -> None:
    """With `--rttm /dev/stdout`, `--rttm >(program)` and named pipes nothing can take the place of what is there."""
    reading, writing = os.pipe()
    link = tmp_path / "link.rttm"
    link.symlink_to(f"/dev/fd/{writing}")
    write_whole(Path(f"/dev/fd/{writing}"), b"one ")
    write_whole(Path(f"/proc/self/fd/{writing}"), b"two ")
    write_whole(link, b"three")
    assert os.read(reading, 100) == b"one two three"
    with (tmp_path / "log").open("wb") as log:
        log.write(b"what went there before, ")
        log.flush()
        write_whole(Path(f"/dev/fd/{log.fileno()}"), b"the turns")
    assert (tmp_path / "log").read_bytes() == b"what went there before, the turns"
    os.close(reading)
    with pytest.raises(OSError, match="Broken pipe"):
        write_whole(link, b"to nobody")
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_whole(link, b"closed")
    pipe = tmp_path / "pipe.rttm"
    os.mkfifo(pipe)
    told: list[bytes] = []
    reader = threading.Thread(target=lambda: told.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"the turns")
    reader.join(30)
    assert told == [b"the turns"]
    assert pipe.is_fifo()


def test_a_path_stands_for_an_open_file_or_does_not(tmp_path: Path) -> None:
    assert descriptor_of(Path("/dev/stdout")) == 1
    assert descriptor_of(Path("/dev/fd/63")) == 63
    assert descriptor_of(Path("/proc/self/fd/7")) == 7
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for other in (tmp_path / "1", circle, Path("/dev/null"), Path("/dev/fd/x"), Path("fd/1")):
        assert descriptor_of(other) is None
