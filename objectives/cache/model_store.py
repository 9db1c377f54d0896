"""The store of finished models. Each is made once, named by a hash of its ingredients, and checked whenever opened.

The cache's folder `models/` holds for each model

    <key>.bin, <key>.safetensors   the model; its size is the size objective
    <key>.json                     its sidecar: what it was made from, how, when, and the file's size and SHA-256.
                                   Written after the file, so that an incomplete model never passes for a whole one.
                                   Its time of modification is when the model was last used
    <key>.<kind>.<form>.onnx       the same model to run and deploy (segmentation_onnx.py), made again if missing
    .<name>.<random>.<suffix>      a file being written, or left by a kill; .<name>.lock is beside it

Other files there (the ONNX graphs of speaker embeddings) do not belong to the store.
"""

import fcntl
import hashlib
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from objectives.cache.files import cache_dir, content_key, held, lock_of, make_in_place, windows_dir, writing

SUFFIXES = (".bin", ".safetensors")  # stock pyannote.audio checkpoints, low-bit weights
HELD = 64  # number of recently used models that a process protects from cleaning
SETTLED = 2.0  # seconds after which another change to a file is sure to change its time of modification
State = Literal["whole", "damaged", "half-written", "being made"]
_guard = threading.Lock()
_held: dict[Path, int] = {}  # model → open file with a shared lock
_sums: dict[tuple[Path, int, int], str] = {}  # (file, time of modification, bytes) → SHA-256


@dataclass(frozen=True)
class StoredModel:
    """A finished model, as recorded in its sidecar.

    key: hash of `made_from`, which is everything that the model depends on. story: how it was made. Both as read from
    JSON. made: the time, in UTC, ISO 8601.
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
    """Return the folder of finished models. It may not exist."""
    return cache_dir() / "models"


def kept_model(
    ingredients: Mapping[str, Any],
    suffix: str,
    make: Callable[[Path], Mapping[str, Any]],
    on_wait: Callable[[], None] = lambda: None,
) -> StoredModel:
    """Return the finished model of these ingredients, made by `make(temporary path)` if there is no whole one.

    ingredients: everything that changes the model's bytes. They and the story that `make` returns must survive JSON.
    on_wait: called before waiting for another process that is making this model.

    Concurrent processes make a model once. A kill at any instant leaves a whole model or nothing that passes for one.
    If a byte of a model or its sidecar was changed, or the sidecar is missing, the model is made again, with a warning.
    `model_cleaning.clean` in other processes spares the models that this one uses.
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
        with held(lock_of(sidecar_of(key)), on_wait):
            return _opened(path, key) or _built(path, key, made_from, make)


def release() -> None:
    """Give up all models that this process has opened, so that `model_cleaning.clean` may delete them."""
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
    """Return the model if it is whole. It then counts as in use."""
    if not _hold(path):
        return None
    recorded = recorded_model(key)
    if recorded is None or damage_of(path, recorded):
        return None
    with suppress(OSError):  # a read-only cache works too, but does not record the last use
        os.utime(sidecar_of(key))
    return recorded


def _built(
    path: Path, key: str, made_from: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
) -> StoredModel:
    sidecar = sidecar_of(key)
    if path.exists() or sidecar.exists():
        warnings.warn(
            f"{path} {damage_of(path, recorded_model(key))}: the model is made again", RuntimeWarning, stacklevel=3
        )
    # the sidecar first: without it, nothing passes for whole; derived files came from the bytes that are deleted
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
    """Return the text of a sidecar. Its last line is a checksum of the others."""
    record = asdict(model) | {"path": model.path.name}
    return json.dumps(record | {"check": content_key(**record)}, indent=2)


def recorded_model(key: str) -> StoredModel | None:
    """Read a model's sidecar; None if it is missing or not what was written."""
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


def damage_of(path: Path, recorded: StoredModel | None) -> str:
    """Describe what is wrong with the model at `path`, to follow its name in a message; empty if it is whole."""
    if recorded is None:
        sidecar = path.with_suffix(".json")
        if sidecar.exists():
            return f"cannot be checked: its sidecar {sidecar.name} is not what was written"
        return f"cannot be checked: its sidecar {sidecar.name} is missing"
    try:
        size = path.stat().st_size
        if recorded.path != path or size != recorded.size_bytes:
            return f"has {size} bytes; its sidecar says {recorded.size_bytes} in {recorded.path.name}"
        sha256 = _sha256(path)
    except FileNotFoundError:
        return "is missing; its sidecar is there"
    return "" if sha256 == recorded.sha256 else f"has SHA-256 {sha256}; its sidecar says {recorded.sha256}"


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file. A process reads it once unless it changes."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        seal = (path, stat.st_mtime_ns, stat.st_size)
        if seal in _sums:
            return _sums[seal]
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # file systems' clocks are coarse: another change right now could have the same time
    if time.time() - stat.st_mtime > SETTLED:
        _sums[seal] = digest
    return digest


def _hold(path: Path) -> bool:
    """Protect a model from cleaning by other processes. Return False if it does not exist."""
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
