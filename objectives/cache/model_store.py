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
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from objectives.cache.files import cache_dir, content_key, lock_of, make_in_place, windows_dir, writing

SUFFIXES = (".bin", ".safetensors")  # of models: stock pyannote.audio checkpoints, low-bit weights
HELD = 64  # models that a process keeps from being pruned: those that it used last
SETTLED = 2.0  # seconds after which a file's time of modification is sure to tell the next change
State = Literal["whole", "damaged", "half-written", "being made"]
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
    Raises AssetError if the cache cannot be written.
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
        with _locked(sidecar_of(key), on_wait):
            return _opened(path, key) or _built(path, key, made_from, make)


def release() -> None:
    """This process uses none of the models that it has opened any more: `prune` may delete them."""
    with _guard:
        while _held:
            os.close(_held.popitem()[1])


def sidecar_of(key: str) -> Path:
    return models_dir() / f"{key}.json"


def derived_files(key: str) -> list[Path]:
    suffixes = (*SUFFIXES, ".json")
    files = [path for path in sorted(models_dir().glob(f"{key}.*")) if path.suffix not in suffixes]
    return files + sorted(windows_dir(key).glob("*.npz"))


def _opened(path: Path, key: str) -> StoredModel | None:
    """The model if it is whole; from now on it is in use."""
    if not _hold(path):
        return None
    told = recorded_model(key)
    if told is None or damage_of(path, told):
        return None
    with suppress(OSError):  # a cache that may only be read forgets when it was used, and works all the same
        os.utime(sidecar_of(key))
    return told


def _built(
    path: Path, key: str, made_from: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
) -> StoredModel:
    sidecar = sidecar_of(key)
    if path.exists() or sidecar.exists():
        warnings.warn(
            f"{path} {damage_of(path, recorded_model(key))}: the model is made again", RuntimeWarning, stacklevel=3
        )
    # the sidecar goes first: without one, nothing passes for whole. What was derived came from bytes that now go.
    for old in (sidecar, *derived_files(key), path):
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


def recorded_model(key: str) -> StoredModel | None:
    """What the sidecar tells; None where there is none, or it is not what was written."""
    try:
        record = json.loads(sidecar_of(key).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    check = record.pop("check", None)
    genuine = set(record) == {field.name for field in fields(StoredModel)} and check == content_key(**record)
    if not genuine or record["key"] != key:
        return None
    return StoredModel(**record | {"path": models_dir() / record["path"]})


def damage_of(path: Path, told: StoredModel | None) -> str:
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
