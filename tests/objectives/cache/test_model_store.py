"""Finished models: between real processes, through kills, and with any byte of them changed."""

import json
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objectives.cache import model_store
from objectives.cache.files import CACHE_VARIABLE, content_key, kept_file, windows_dir
from objectives.cache.model_cleaning import clean, stored_models
from objectives.cache.model_store import StoredModel, kept_model, release
from objectives.errors import AssetError

PATIENCE = 30.0
FORK = multiprocessing.get_context("fork")
INGREDIENTS = {"base": "da85", "structure": "hidden", "ratio": 0.4, "precision": "int8_ptq", "seed": 0}
CONTENT = bytes(range(256)) * 4
STORY = {"kept": {"hidden": 84}, "losses": [0.5, 0.25], "params": 692_000}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test's own; its folder of models."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    yield tmp_path / "cache" / "models"
    release()


def make(target: Path) -> Mapping[str, Any]:
    target.write_bytes(CONTENT)
    return STORY


def never(target: Path) -> Mapping[str, Any]:
    raise AssertionError("made again")


def kept(making: Callable[[Path], Mapping[str, Any]] = make, **varied: Any) -> StoredModel:
    return kept_model(INGREDIENTS | varied, ".safetensors", making)


def names(folder: Path) -> set[str]:
    """Files of the store, but for locks."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def in_another_process(act: Callable[[], object]) -> None:
    process = FORK.Process(target=act, daemon=True)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0


def killed_while(making: Callable[[Path], Mapping[str, Any]], until: Callable[[], bool]) -> None:
    """Make a model in another process, and kill that without warning."""
    process = FORK.Process(target=kept, args=(making,), daemon=True)
    process.start()
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def test_a_model_is_made_once_and_tells_its_making(folder: Path) -> None:
    made = kept()
    assert (made.path, made.size_bytes, made.path.read_bytes()) == (folder / f"{made.key}.safetensors", 1024, CONTENT)
    assert made.key == content_key(**INGREDIENTS)
    assert (made.made_from, made.story) == (INGREDIENTS, STORY)
    assert kept(never) == made
    assert names(folder) == {f"{made.key}.safetensors", f"{made.key}.json"}
    (entry,) = stored_models()
    assert (entry.state, entry.damage, entry.model, entry.debris) == ("whole", "", made, ())


def test_other_ingredients_are_another_model() -> None:
    keys = {kept(**varied).key for varied in ({}, {"seed": 1}, {"ratio": 0.45}, {"precision": "int8_qat"})}
    assert len(keys) == 4


def test_ingredients_and_story_come_back_as_they_were_whether_made_or_read() -> None:
    odd = {"kept": (84, 128), "nested": {"é": None, "x": 0.1 + 0.2}}
    made = kept(lambda target: {**make(target), "tuple": (1, 2)}, odd=odd)
    assert made == kept(never, odd=odd)
    assert made.story["tuple"] == [1, 2]


def test_three_processes_at_once_make_a_model_once(tmp_path: Path) -> None:
    barrier, log = FORK.Barrier(3), tmp_path / "log"

    def slowly(target: Path) -> Mapping[str, Any]:
        with log.open("a") as file:
            file.write("made\n")
        target.write_bytes(b"half")
        time.sleep(0.3)  # long enough for the others to come
        return make(target)

    def ask() -> None:
        barrier.wait(PATIENCE)
        waited: list[bool] = []
        assert kept_model(INGREDIENTS, ".bin", slowly, lambda: waited.append(True)).path.read_bytes() == CONTENT
        with log.open("a") as file:
            file.write("waited\n" * len(waited))

    processes = [FORK.Process(target=ask, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(log.read_text().split()) == ["made", "waited", "waited"]


def test_a_kill_while_making_leaves_nothing_that_passes_for_whole(folder: Path) -> None:
    ours, theirs = FORK.Pipe()

    def half(target: Path) -> Mapping[str, Any]:
        target.write_bytes(CONTENT[:500])
        theirs.send("half")
        time.sleep(PATIENCE)
        return {}

    seen: list[str] = []

    def being_made() -> bool:
        if not ours.poll(PATIENCE):
            return False
        seen.extend(entry.state for entry in stored_models())
        return True

    killed_while(half, being_made)
    assert seen == ["being made"]
    (entry,) = stored_models()
    assert (entry.state, entry.files, entry.size_bytes) == ("half-written", (), 500)
    assert entry.debris == entry.leftovers != ()

    made = kept()
    assert names(folder) == {f"{made.key}.safetensors", f"{made.key}.json"}


def test_a_kill_between_file_and_sidecar_leaves_nothing_that_passes_for_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(model: StoredModel) -> str:
        time.sleep(PATIENCE)
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "_written", stuck)
        killed_while(make, lambda: any(folder.glob("*.safetensors")) and any(folder.glob(".*.json.*.json")))
    (entry,) = stored_models()
    assert entry.state == "damaged"
    assert "sidecar" in entry.damage
    with pytest.warns(RuntimeWarning, match=r"\.safetensors cannot be checked: its sidecar .*\.json is missing"):
        assert kept().story == STORY
    kept(never)


def test_a_kill_at_any_instant_leaves_a_whole_model_or_none(folder: Path) -> None:
    def quickly(target: Path) -> Mapping[str, Any]:
        target.write_bytes(b"ha")
        return make(target)

    for delay in range(12):
        process = FORK.Process(target=kept, args=(quickly,), kwargs={"seed": delay}, daemon=True)
        process.start()
        time.sleep(delay / 1000)
        process.kill()
        process.join(PATIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert kept(seed=delay).path.read_bytes() == CONTENT
        assert kept(never, seed=delay).story == STORY
    assert len(names(folder)) == 24


# the file in a settled state too, where its sum is remembered
@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(CONTENT[:-1]), "has 1023 bytes; its sidecar says 1024"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.write_bytes(b"\1" + CONTENT[1:]), "has SHA-256 [0-9a-f]{64}; its sidecar says"),
        (lambda path: path.unlink(), "is missing; its sidecar is there"),
        (lambda path: path.with_suffix(".json").unlink(), "sidecar .* is missing"),
        (lambda path: path.with_suffix(".json").write_bytes(b"\xff\0garbage"), "sidecar .* is not what was written"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "sidecar .* is not what was written"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "sidecar .* is not what was written"),
    ],
)
def test_what_is_damaged_is_told_and_made_again(
    damage: Callable[[Path], object], words: str, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settled:
        monkeypatch.setattr(model_store, "SETTLED", -1.0)
    path = kept().path
    graph = kept_file("models", f"{path.stem}.onnx", Path.touch)
    kept(never)
    time.sleep(0.02)  # more than a tick of the file system's clock
    damage(path)
    assert [entry.state for entry in stored_models()] == ["damaged"]
    with pytest.warns(RuntimeWarning, match=words):
        assert kept().path.read_bytes() == CONTENT
    assert not graph.exists()  # it came from bytes that are gone
    assert kept(never).story == STORY


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".safetensors", ".json"]), where=st.integers(0, 1023), flip=st.integers(1, 255))
def test_any_byte_changed_anywhere_changes_nothing_that_is_told(suffix: str, where: int, flip: int) -> None:
    model = kept()
    path = model.path.with_suffix(suffix)
    content = bytearray(path.read_bytes())
    content[where % len(content)] ^= flip
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = kept()
    assert (again.path.read_bytes(), again.story, again.made_from) == (CONTENT, STORY, INGREDIENTS)
    if not caught:  # the change was one of JSON's spelling alone
        assert path.suffix == ".json"
        assert again == model


def test_a_model_is_read_once_by_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "SETTLED", -1.0)
    path = kept().path
    kept(never)
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    kept(never)  # same time and bytes: not read again
    os.utime(path)
    with pytest.warns(RuntimeWarning, match="SHA-256"):
        kept()


def test_using_a_model_tells_when_it_was_last_used() -> None:
    sidecar = kept().path.with_suffix(".json")
    os.utime(sidecar, (1_000_000, 1_000_000))
    assert [entry.last_used for entry in stored_models()] == [1_000_000]
    before = time.time()
    kept(never)
    assert (stored_models()[0].last_used or 0) >= before - 1


def test_an_error_while_making_leaves_nothing_and_passes_through(folder: Path) -> None:
    def fail(target: Path) -> Mapping[str, Any]:
        target.write_bytes(b"ha")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        kept(fail)
    assert names(folder) == set()
    assert stored_models() == []


def test_a_full_disk_says_so() -> None:
    def full(target: Path) -> Mapping[str, Any]:
        raise OSError(28, os.strerror(28))

    with pytest.raises(AssetError, match=f"No space left on device; make room .*{CACHE_VARIABLE}"):
        kept(full)


def test_clean_takes_debris_and_what_is_chosen_with_all_that_was_derived(folder: Path) -> None:
    def fill() -> None:
        for seed in range(3):
            kept(seed=seed)

    in_another_process(fill)
    chosen, damaged, stays = (content_key(**INGREDIENTS | {"seed": seed}) for seed in range(3))
    (folder / f"{damaged}.safetensors").write_bytes(b"damaged")
    (folder / f"{chosen}.onnx").write_bytes(b"graph")
    (folder / f".{stays}.onnx.abcd_123.onnx").write_bytes(b"half a graph")
    embedding = folder / f"{'0' * 32}.onnx"  # a speaker embedding's: no model of the store
    embedding.write_bytes(b"graph")
    (folder / "notes.txt").write_text("the user's own")
    gone, kept_windows = (windows_dir(key) / "recording.npz" for key in (chosen, stays))
    for windows in (gone, kept_windows):
        windows.parent.mkdir(parents=True)
        windows.write_bytes(b"classes")

    entries = stored_models()
    assert {entry.key: entry.state for entry in entries} == {chosen: "whole", damaged: "damaged", stays: "whole"}
    expected = sum(
        path.stat().st_size for path in folder.iterdir() if path.name.lstrip(".").startswith((chosen, damaged))
    )
    cleaned = clean(entries, {chosen})
    assert names(folder) == {f"{stays}.safetensors", f"{stays}.json", embedding.name, "notes.txt"}
    assert cleaned.freed == expected + len(b"half a graph") + len(b"classes")
    assert len(cleaned.deleted) == 7
    assert (gone.exists(), kept_windows.exists()) == (False, True)
    assert cleaned.spared == {}
    in_another_process(lambda: kept(never, seed=2))


def test_clean_spares_what_a_running_process_uses() -> None:
    ours, theirs = FORK.Pipe()

    def use() -> None:
        path = kept().path
        theirs.send("using")
        theirs.recv()
        assert path.read_bytes() == CONTENT
        release()
        theirs.send("done")
        theirs.recv()

    process = FORK.Process(target=use, daemon=True)
    process.start()
    assert ours.poll(PATIENCE)
    ours.recv()
    (entry,) = stored_models()
    assert clean([entry], {entry.key}).spared == {entry.key: "a running process uses it"}
    assert [entry.state for entry in stored_models()] == ["whole"]
    ours.send("go on")
    assert ours.poll(PATIENCE)
    assert ours.recv() == "done"
    assert clean([entry], {entry.key}).spared == {}
    assert stored_models() == []
    ours.send("end")
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_of_more_models_than_are_held_those_used_last_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "HELD", 2)
    first, second = kept(seed=1), kept(seed=2)
    kept(never, seed=1)  # used again: now the second is the oldest
    third = kept(seed=3)
    assert list(model_store._held) == [first.path, third.path]
    entries = stored_models()
    clean(entries, {entry.key for entry in entries})
    assert [path.exists() for path in (first.path, second.path, third.path)] == [True, False, True]


def test_clean_spares_what_is_being_made_and_what_was_mended_meanwhile() -> None:
    ours, theirs = FORK.Pipe()

    def slowly(target: Path) -> Mapping[str, Any]:
        theirs.send("half")
        theirs.recv()
        return make(target)

    kept().path.write_bytes(b"damaged")
    release()
    (damaged,) = stored_models()
    process = FORK.Process(target=kept, args=(slowly,), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        process.start()
    assert ours.poll(PATIENCE)
    assert clean([damaged]).spared == {damaged.key: "it is being made"}
    ours.send("go on")
    process.join(PATIENCE)
    cleaned = clean([damaged])  # what was seen damaged is whole by now
    assert (cleaned.deleted, cleaned.spared) == ((), {})
    kept(never)


def test_a_sidecar_can_be_read_by_people_and_programs() -> None:
    made = kept()
    record = json.loads(made.path.with_suffix(".json").read_text())
    assert record["key"] == made.key
    assert record["path"] == made.path.name  # so that a cache can be moved
    assert record["made_from"] == INGREDIENTS


def test_a_cache_that_was_moved_keeps_its_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept()
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    assert kept(never).path.is_relative_to(tmp_path / "elsewhere")
