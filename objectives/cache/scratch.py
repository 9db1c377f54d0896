"""A cache of one's own for a while: what is measured inside is computed afresh, and compared with what was kept.

It lies in the folder `fresh/` of the cache, on the same disk, so that models that are to be used as they are kept need
no copy. One that a killed process left behind goes when the next one is opened. Sound that is made up and used once has
one as well, so that nothing of it is left.
"""

import filecmp
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from objectives.cache.arrays import DAMAGE
from objectives.cache.assets import assets_dir
from objectives.cache.files import CACHE_VARIABLE, cache_dir, lock_of, reading_arrays, writing
from objectives.cache.model_pruning import stored_models
from objectives.cache.model_store import StoredModel, models_dir, release

FOLDER = "fresh"
COMPARED = ("features", "windows", "models", "recovery")  # folders of the cache that hold what was computed
WITNESSES = (".npy", ".npz", ".onnx", ".bin", ".safetensors")  # sidecars hold dates, and vouch for themselves


@dataclass(frozen=True)
class FreshCache:
    """folder: the cache of one's own. kept: the one beside which it was opened. models: finished models that are used
    as they were kept. damaged: models that were asked for and are not whole in the cache, and why."""

    folder: Path
    kept: Path
    models: Mapping[str, StoredModel] = field(default_factory=dict)
    damaged: Mapping[Path, str] = field(default_factory=dict)

    def differing(self) -> Mapping[Path, str]:
        """What is kept and is not what came out here, with the reason, damaged models included. Only what was computed
        here is looked at."""
        found = dict(self.damaged)
        for name in COMPARED:
            for fresh in sorted((self.folder / name).rglob("*")):
                kept = self.kept / fresh.relative_to(self.folder)
                if (
                    fresh.suffix in WITNESSES
                    and not fresh.name.startswith(".")
                    and kept.is_file()
                    and kept not in found
                ):
                    why = _differs(fresh, kept)
                    if why:
                        found[kept] = why
        return found


@contextmanager
def fresh_cache(models: Collection[str] = ()) -> Iterator[FreshCache]:
    """Inside, this process and those that it starts keep what they compute in an empty cache, which then goes.

    models: keys of finished models to be used as they are kept, with those that they were made from, where they are
    whole; every other one is made anew. Pinned assets are the kept ones. Not for two threads at once: where the cache
    lies is told by the environment. Raises AssetError if the cache cannot be written.
    """
    kept = cache_dir()
    with _own_folder() as folder:
        with writing(folder):
            used, damaged = _lend(models, folder / "models")
        with _as_the_cache(folder):
            yield FreshCache(folder, kept, used, damaged)


@contextmanager
def passing_cache() -> Iterator[Path]:
    """Inside, features and windows are kept in a cache that then goes, with whatever else is written into the folder;
    finished models are the kept ones, and new ones stay.

    The folder can be read by nobody else. Pinned assets are the kept ones. Not for two threads at once, as
    `fresh_cache`. Raises AssetError if the cache cannot be written.
    """
    with _own_folder() as folder:
        with writing(folder):
            models_dir().mkdir(parents=True, exist_ok=True)
            (folder / "models").symlink_to(models_dir().resolve(), target_is_directory=True)
        with _as_the_cache(folder):
            yield folder


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A new folder of the cache, for its owner alone, with the assets; then it goes."""
    kept = cache_dir()
    with writing(kept / FOLDER):
        (kept / FOLDER).mkdir(parents=True, exist_ok=True)
        assets_dir().mkdir(parents=True, exist_ok=True)
        with lock_of(kept / FOLDER):  # or another one would sweep away a folder that is not locked yet
            _sweep(kept / FOLDER)
            folder = Path(tempfile.mkdtemp(dir=kept / FOLDER))
            lock = FileLock(folder / ".lock")
            lock.acquire()
    try:
        with writing(folder):
            (folder / "assets").symlink_to(assets_dir().resolve(), target_is_directory=True)
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # what cannot go now is swept away by the next one


@contextmanager
def _as_the_cache(folder: Path) -> Iterator[None]:
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(CACHE_VARIABLE, None)
        else:
            os.environ[CACHE_VARIABLE] = before
        release()  # models in the folder that goes


def kept_models() -> Mapping[str, StoredModel]:
    """Whole models of the cache by key. Every byte is read."""
    return {entry.key: entry.model for entry in stored_models() if entry.state == "whole" and entry.model is not None}


def _lend(models: Collection[str], folder: Path) -> tuple[Mapping[str, StoredModel], Mapping[Path, str]]:
    """Link models and their sources into the folder. Returns those, and the ones that are damaged."""
    if not models:
        return {}, {}
    entries = {entry.key: entry for entry in stored_models()}
    folder.mkdir()
    used: dict[str, StoredModel] = {}
    damaged: dict[Path, str] = {}
    wanted = list(models)
    while wanted:
        key = wanted.pop()
        entry = entries.get(key)
        if entry is None or key in used:
            continue
        if entry.state == "damaged":
            damaged[entry.files[-1] if entry.files else models_dir() / key] = entry.damage
        if entry.state != "whole" or entry.model is None:
            continue
        used[key] = entry.model
        for path in (entry.model.path, entry.model.path.with_suffix(".json")):
            _link(path, folder / path.name)
        if source := entry.model.made_from.get("source"):
            wanted.append(source)
    return used, damaged


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:  # a file system without links
        shutil.copy2(path, target)


def _sweep(folder: Path) -> None:
    """Delete what killed processes left."""
    for old in folder.iterdir():
        lock = FileLock(old / ".lock")
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # somebody's, or just appearing or going
            continue
        lock.release()
        shutil.rmtree(old, ignore_errors=True)


def _differs(fresh: Path, kept: Path) -> str:
    """Why a kept file is not what was computed; empty where it is."""
    if fresh.suffix != ".npz":
        return "" if fresh.samefile(kept) or filecmp.cmp(fresh, kept, shallow=False) else "is not what comes out now"
    ours = _rows(fresh)
    try:
        theirs = _rows(kept)
    except DAMAGE as error:
        return f"is damaged ({error})"
    both = ours.keys() & theirs.keys()
    wrong = sum(not np.array_equal(ours[end], theirs[end]) for end in both)
    return f"has other classes in {wrong} of {len(both)} windows" if wrong else ""


def _rows(path: Path) -> dict[int, np.ndarray]:
    with reading_arrays, np.load(path) as told:
        return dict(zip(told["ends"].tolist(), told["classes"], strict=True))
