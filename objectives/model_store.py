"""The store of finished models: each made once, known by a hash of everything that made it, checked whenever opened.

The cache's folder `models/` holds of each model

    <key>.bin, <key>.safetensors   the model; its bytes are the size objective
    <key>.json                     its sidecar: what it was made from, how, when, and the file's bytes and SHA-256.
                                   Written after the file, so that half a model never passes for whole; its time of
                                   modification is when the model was last used
    <key>.<kind>.<form>.onnx       the same to run and to deploy (segmentation_onnx.py), made again where it is missing
    .<name>.<random>.<suffix>      what is being written, or was left by a kill; .<name>.lock beside

Other files there (the ONNX graphs of speaker embeddings) are none of the store's.
"""

import fcntl
import hashlib
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from objectives._cache import cache_dir, windows_dir
from objectives._store import content_key, lock_of, make_in_place, writing
from objectives.errors import AssetError

SUFFIXES = (".bin", ".safetensors")  # of models: stock pyannote.audio checkpoints, low-bit weights
HELD = 64  # models that a process keeps from being pruned: those that it used last
SETTLED = 2.0  # seconds after which a file's time of modification is sure to tell the next change

State = Literal["whole", "damaged", "half-written", "being made"]
_FILE = re.compile(r"(?P<key>[0-9a-f]{32})(?P<suffix>(\.\w+)+)")
_TEMPORARY = re.compile(r"\.(?P<name>(?P<key>[0-9a-f]{32})(?P<suffix>(\.\w+)+?))\.\w{8}\.\w+")

_guard = threading.Lock()
_held: dict[Path, int] = {}  # model → open file with a shared lock
_sums: dict[tuple[Path, int, int], str] = {}  # (file, time of modification, bytes) → SHA-256


@dataclass(frozen=True)
class StoredModel:
    """A finished model, as its sidecar tells it.

    key: hash of `made_from`, which is everything that made it. story: how that went. Both as JSON brings them back.
    made: when, in UTC, ISO 8601.
    """

    key: str
    path: Path
    size_bytes: int
    sha256: str
    made: str
    build_seconds: float
    made_from: Mapping[str, Any]
    story: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What the store holds under one key.

    damage: what is wrong with the model, empty where it is whole. model: what the sidecar tells, None where it does not
    say. files: the model, its sidecar and what was derived from it. leftovers: half-written files that nobody is
    writing. size_bytes: of files and leftovers. last_used: seconds since 1970, None without a sidecar.
    """

    key: str
    state: State
    damage: str
    model: StoredModel | None
    files: tuple[Path, ...]
    leftovers: tuple[Path, ...]
    size_bytes: int
    last_used: float | None

    @property
    def debris(self) -> tuple[Path, ...]:
        """Files that are of no use to anybody."""
        return self.leftovers + (self.files if self.state == "damaged" else ())


@dataclass(frozen=True)
class Pruned:
    """What `prune` did. deleted: files. freed: their bytes. spared: key → why its files stayed."""

    deleted: tuple[Path, ...]
    freed: int
    spared: Mapping[str, str]


def models_dir() -> Path:
    """Where finished models are kept. It may not exist."""
    return cache_dir() / "models"


def kept_model(
    ingredients: Mapping[str, Any],
    suffix: str,
    make: Callable[[Path], Mapping[str, Any]],
    on_wait: Callable[[], None] = lambda: None,
) -> StoredModel:
    """The finished model of these ingredients, made by `make(temporary path)` where no whole one is there.

    ingredients: everything that changes the model's bytes. They and the story that `make` returns must survive JSON.
    on_wait: called before waiting for another process that is making this model.

    Concurrent processes make a model once. A kill at any instant leaves a whole model or nothing that passes for one.
    A model any byte of which was changed, or whose sidecar is gone or was changed, is made again, with a warning.
    `prune` in other processes spares what this one uses.
    Raises AssetError where the cache cannot be written.
    """
    assert suffix in SUFFIXES, f"finished models end in {' or '.join(SUFFIXES)}, not {suffix}"
    made_from = json.loads(json.dumps(dict(ingredients)))
    key = content_key(**made_from)
    path = models_dir() / f"{key}{suffix}"
    with writing(path):
        whole = _opened(path, key)
        if whole is not None:
            return whole
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_sidecar(key), on_wait):
            return _opened(path, key) or _built(path, key, made_from, make)


def release() -> None:
    """This process uses none of the models that it has opened any more: `prune` may delete them."""
    with _guard:
        while _held:
            os.close(_held.popitem()[1])


def stored_models() -> list[Entry]:
    """Everything in the store, by key. Every byte of every model is read to tell whole from damaged.

    Raises AssetError where a file cannot be read.
    """
    keys: set[str] = set()
    try:
        for path in models_dir().iterdir() if models_dir().is_dir() else ():
            file, temporary = _FILE.fullmatch(path.name), _TEMPORARY.fullmatch(path.name)
            if temporary:
                keys.add(temporary["key"])
            elif file and file["suffix"] in (*SUFFIXES, ".json"):
                keys.add(file["key"])
        entries = [_entry(key) for key in sorted(keys)]
    except OSError as error:
        raise AssetError(f"{models_dir()} cannot be read: {error}; permit it, or name another cache folder") from error
    return [entry for entry in entries if entry.files or entry.leftovers or entry.state == "being made"]


def prune(entries: Iterable[Entry], whole: Collection[str] = ()) -> Pruned:
    """Delete the debris of entries, and the whole models whose key is in `whole`.

    Looks again at each before deleting: what is being made, was mended or is in use stays.
    Raises AssetError where a file cannot be deleted.
    """
    deleted: list[Path] = []
    freed, spared = 0, {}
    for entry in entries:
        with writing(_sidecar(entry.key)), _doomed(entry.key, entry.key in whole) as (doomed, why_not):
            for path in doomed:
                freed += path.stat().st_size
                path.unlink()
            deleted += doomed
        if why_not:
            spared[entry.key] = why_not
    return Pruned(tuple(deleted), freed, spared)


def _sidecar(key: str) -> Path:
    return models_dir() / f"{key}.json"


def _derived(key: str) -> list[Path]:
    suffixes = (*SUFFIXES, ".json")
    files = [path for path in sorted(models_dir().glob(f"{key}.*")) if path.suffix not in suffixes]
    return files + sorted(windows_dir(key).glob("*.npz"))


def _opened(path: Path, key: str) -> StoredModel | None:
    """The model if it is whole; from now on it is in use."""
    if not _hold(path):
        return None
    told = _told(key)
    if told is None or _damage(path, told):
        return None
    with suppress(OSError):  # a cache that may only be read forgets when it was used, and works all the same
        os.utime(_sidecar(key))
    return told


def _built(
    path: Path, key: str, made_from: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
) -> StoredModel:
    sidecar = _sidecar(key)
    if path.exists() or sidecar.exists():
        warnings.warn(f"{path} {_damage(path, _told(key))}: the model is made again", RuntimeWarning, stacklevel=3)
    # the sidecar goes first: without one, nothing passes for whole. What was derived came from bytes that now go.
    for old in (sidecar, *_derived(key), path):
        old.unlink(missing_ok=True)
    start = time.perf_counter()
    story = make_in_place(path, make)
    seconds = time.perf_counter() - start
    size = path.stat().st_size
    assert size, "make wrote nothing"
    made = datetime.now(UTC).isoformat(timespec="seconds")
    story = json.loads(json.dumps(dict(story)))
    model = StoredModel(key, path, size, _sha256(path), made, round(seconds, 3), made_from, story)
    make_in_place(sidecar, lambda target: target.write_text(_written(model)))
    _hold(path)
    return model


def _written(model: StoredModel) -> str:
    """The text of a sidecar; its last line vouches for the others."""
    record = asdict(model) | {"path": model.path.name}
    return json.dumps(record | {"check": content_key(**record)}, indent=2)


def _told(key: str) -> StoredModel | None:
    """What the sidecar tells; None where there is none, or it is not what was written."""
    try:
        record = json.loads(_sidecar(key).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    check = record.pop("check", None)
    genuine = set(record) == {field.name for field in fields(StoredModel)} and check == content_key(**record)
    if not genuine or record["key"] != key:
        return None
    return StoredModel(**record | {"path": models_dir() / record["path"]})


def _damage(path: Path, told: StoredModel | None) -> str:
    """What is wrong with the model at `path`, ready to follow its name; empty where it is whole."""
    if told is None:
        sidecar = path.with_suffix(".json")
        if sidecar.exists():
            return f"cannot be checked: its sidecar {sidecar.name} is not what was written"
        return f"cannot be checked: its sidecar {sidecar.name} is missing"
    try:
        size = path.stat().st_size
        if told.path != path or size != told.size_bytes:
            return f"has {size} bytes; its sidecar tells of {told.size_bytes} in {told.path.name}"
        sha256 = _sha256(path)
    except FileNotFoundError:
        return "is missing; its sidecar is there"
    return "" if sha256 == told.sha256 else f"has SHA-256 {sha256}; its sidecar tells of {told.sha256}"


def _sha256(path: Path) -> str:
    """Of a file, read once by a process unless it changes."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        seal = (path, stat.st_mtime_ns, stat.st_size)
        if seal in _sums:
            return _sums[seal]
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # clocks of file systems are coarse: another change right now could leave the same time
    if time.time() - stat.st_mtime > SETTLED:
        _sums[seal] = digest
    return digest


def _hold(path: Path) -> bool:
    """Keep other processes from pruning a model; False where there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    fcntl.flock(file, fcntl.LOCK_SH)
    with _guard:
        past = [_held.pop(path)] if path in _held else []
        _held[path] = file
        while len(_held) > HELD:
            past.append(_held.pop(next(iter(_held))))
        for old in past:
            os.close(old)
    return True


@contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    lock = lock_of(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _entry(key: str) -> Entry:
    path, told, damage = _look(key)
    busy = bool(damage) and not _is_free(lock_of(_sidecar(key)))
    if damage and not busy:
        path, told, damage = _look(key)  # it may have been finished between the two looks
    state: State = "being made" if busy else "half-written" if path is None else "damaged" if damage else "whole"
    files = [] if path is None else _files(path, key)
    leftovers = _leftovers(key, alone=False)
    stats = {file: stat for file in (*files, *leftovers) if (stat := _stat(file))}
    used = stats[_sidecar(key)].st_mtime if _sidecar(key) in stats else None
    size = sum(stat.st_size for stat in stats.values())
    return Entry(key, state, damage, told, tuple(files), tuple(leftovers), size, used)


def _look(key: str) -> tuple[Path | None, StoredModel | None, str]:
    """Where the model lies or ought to (None without it and a sidecar), what its sidecar tells, its damage."""
    told = _told(key)
    usual = [models_dir() / f"{key}{suffix}" for suffix in SUFFIXES]
    there = [told.path] if told else [path for path in usual if path.exists()]
    if not there and not _sidecar(key).exists():
        return None, None, "was not made to its end"
    path = (there or usual)[0]
    return path, told, _damage(path, told)


def _files(path: Path, key: str) -> list[Path]:
    """What belongs to a model, in the order in which it can be deleted: a kill in between leaves no orphan behind."""
    return [file for file in (*_derived(key), _sidecar(key), path) if file.exists()]


def _leftovers(key: str, alone: bool) -> list[Path]:
    """Half-written files that nobody is writing. alone: the caller holds the lock of the model."""
    left = []
    for path in sorted(models_dir().glob(f".{key}.*")):
        if match := _TEMPORARY.fullmatch(path.name):
            own = match["suffix"] in (*SUFFIXES, ".json")
            lock = lock_of(_sidecar(key) if own else models_dir() / match["name"])
            if (own and alone) or _is_free(lock):
                left.append(path)
    return left


@contextmanager
def _doomed(key: str, whole: bool) -> Iterator[tuple[list[Path], str]]:
    """What may be deleted of a key inside the block, and why the rest may not."""
    lock = lock_of(_sidecar(key))
    if not models_dir().is_dir():
        yield [], ""
        return
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield [], "it is being made"
        return
    try:
        (path, _, damage), leftovers = _look(key), _leftovers(key, alone=True)
        if path is None or not (whole or damage):
            yield leftovers, ""
            return
        with _unused(path) as unused:
            yield leftovers + (_files(path, key) if unused else []), "" if unused else "a running process uses it"
    finally:
        lock.release()


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Whether no process uses a model; none can begin to until the block is left."""
    if not path.exists():
        yield True
        return
    file = os.open(path, os.O_RDWR)  # network file systems lock exclusively only what is open for writing
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


def _is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
