"""Temporary caches, to compute everything anew and compare it with what was kept, or to leave nothing behind.

They are folders below `fresh/` in the cache, with links to the kept models that are used. A temporary cache that a
killed process left is deleted when the next one is opened. Simulated audio that is used once gets one as well, so that
none of it remains.
"""

import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock

from objectives.cache.arrays import DAMAGE
from objectives.cache.assets import assets_dir
from objectives.cache.files import CACHE_VARIABLE, cache_dir, if_free, lock_of, reading_arrays, writing
from objectives.cache.model_cleaning import stored_models
from objectives.cache.model_store import StoredModel, models_dir, release

T = TypeVar("T")
FOLDER = "fresh"
COMPARED = ("features", "windows", "models", "recovery")  # folders of the cache with computed files
WITNESSES = (".npy", ".npz", ".onnx", ".bin", ".safetensors")  # not sidecars, which hold dates and their own checksums


@dataclass(frozen=True)
class FreshCache:
    """A temporary cache.

    folder: the temporary cache. kept: the regular one. models: finished models of the regular cache that are used as
    they are. damaged: requested models that are not whole in the regular cache, and why."""

    folder: Path
    kept: Path
    models: Mapping[str, StoredModel] = field(default_factory=dict)
    damaged: Mapping[Path, str] = field(default_factory=dict)

    def differing(self) -> Mapping[Path, str]:
        """Return the kept files that differ from those computed here, with the reason, and the damaged models.

        Only files that were computed here are compared."""
        found = dict(self.damaged)
        for name in COMPARED:
            for fresh in sorted((self.folder / name).rglob("*")):
                kept = self.kept / fresh.relative_to(self.folder)
                witness = fresh.suffix in WITNESSES and not fresh.name.startswith(".") and kept.is_file()
                if witness and (why := found.get(kept) or _differs(fresh, kept)):
                    found[kept] = why
        return found


@contextmanager
def fresh_cache(models: Collection[str] = ()) -> Iterator[FreshCache]:
    """Make this process and its children use an empty cache inside the block. It is deleted afterwards.

    models: keys of kept finished models to use, with the models that they were made from, if they are whole. All others
    are made anew. Pinned assets are those of the regular cache. Not for two threads at once, because an environment
    variable sets the cache's location. Raises AssetError if the cache cannot be written.
    """
    kept = cache_dir()
    with _temporary(lambda folder: _lend(models, folder / "models")) as (folder, (used, damaged)):
        yield FreshCache(folder, kept, used, damaged)


@contextmanager
def passing_cache() -> Iterator[Path]:
    """Use a temporary cache for features and windows inside the block, and yield its folder, which is then deleted.

    Finished models and pinned assets are those of the regular cache, and new models stay there. Other users cannot read
    the folder. Not for two threads at once, as `fresh_cache`. Raises AssetError if the cache cannot be written.
    """

    def link(folder: Path) -> None:
        models_dir().mkdir(parents=True, exist_ok=True)
        (folder / "models").symlink_to(models_dir().resolve(), target_is_directory=True)

    with _temporary(link) as (folder, _):
        yield folder


@contextmanager
def _temporary(fill: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """Use a folder that only its owner can read as the cache, with the assets and what `fill` puts there."""
    kept = cache_dir()
    with writing(kept / FOLDER):
        (kept / FOLDER).mkdir(parents=True, exist_ok=True)
        assets_dir().mkdir(parents=True, exist_ok=True)
        with lock_of(kept / FOLDER):  # otherwise another process would sweep away a folder that is not locked yet
            _sweep(kept / FOLDER)
            folder = Path(tempfile.mkdtemp(dir=kept / FOLDER))
            lock = FileLock(folder / ".lock")
            lock.acquire()
    before = os.environ.get(CACHE_VARIABLE)
    try:
        with writing(folder):
            (folder / "assets").symlink_to(assets_dir().resolve(), target_is_directory=True)
            filled = fill(folder)
        os.environ[CACHE_VARIABLE] = str(folder)
        yield folder, filled
    finally:
        if before is None:
            os.environ.pop(CACHE_VARIABLE, None)
        else:
            os.environ[CACHE_VARIABLE] = before
        release()  # models in the folder, which is about to be deleted
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # whatever cannot be deleted now is swept away by the next one


def kept_models() -> Mapping[str, StoredModel]:
    """Return the whole models of the cache by key. Reads every byte."""
    return {entry.key: entry.model for entry in stored_models() if entry.state == "whole" and entry.model is not None}


def _lend(models: Collection[str], folder: Path) -> tuple[Mapping[str, StoredModel], Mapping[Path, str]]:
    """Link models and the models they were made from into the folder. Return those, and the damaged ones."""
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
            (folder / path.name).symlink_to(path.resolve())
        if source := entry.model.made_from.get("source"):
            wanted.append(source)
    return used, damaged


def _sweep(folder: Path) -> None:
    """Delete the folders that killed processes left."""
    for old in folder.iterdir():
        with suppress(OSError), if_free(FileLock(old / ".lock")) as free:  # it may just be deleted
            if free:
                shutil.rmtree(old, ignore_errors=True)


def _differs(fresh: Path, kept: Path) -> str:
    """Describe how a kept file differs from the computed one; empty if they agree."""
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
    with reading_arrays, np.load(path) as stored:
        return dict(zip(stored["ends"].tolist(), stored["classes"], strict=True))
