"""List the model store, and delete finished models that nothing uses."""

import fcntl
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from objectives.cache.files import if_free, lock_of, writing
from objectives.cache.model_store import (
    SUFFIXES,
    State,
    StoredModel,
    damage_of,
    derived_files,
    models_dir,
    recorded_model,
    sidecar_of,
)
from objectives.errors import AssetError

_FILE = re.compile(r"(?P<key>[0-9a-f]{32})(?P<suffix>(\.\w+)+)")
_TEMPORARY = re.compile(r"\.(?P<name>(?P<key>[0-9a-f]{32})(?P<suffix>(\.\w+)+?))\.\w{8}\.\w+")


@dataclass(frozen=True)
class Entry:
    """The content of the store under one key.

    damage: what is wrong with the model; empty if it is whole. model: as recorded in its sidecar; None if there is no
    valid one. files: the model, its sidecar and files derived from it. leftovers: half-written files that no process is
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
        """Files that nothing can use."""
        return self.leftovers + (self.files if self.state == "damaged" else ())


@dataclass(frozen=True)
class Cleaned:
    """The result of `clean`. deleted: files. freed: their bytes. spared: key → why its files were kept."""

    deleted: tuple[Path, ...]
    freed: int
    spared: Mapping[str, str]


def stored_models() -> list[Entry]:
    """Return the entries of the store by key. Reads every byte of every model to find damage.

    Raises AssetError if a file cannot be read.
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


def clean(entries: Iterable[Entry], whole: Collection[str] = ()) -> Cleaned:
    """Delete the debris of entries, and the whole models whose key is in `whole`.

    Each entry is inspected again first: models that are being made, were repaired or are in use are kept.
    Raises AssetError if a file cannot be deleted.
    """
    deleted: list[Path] = []
    freed, spared = 0, {}
    for key in [entry.key for entry in entries]:
        with writing(sidecar_of(key)), if_free(lock_of(sidecar_of(key))) as free, ExitStack() as until_deleted:
            if not free:
                spared[key] = "it is being made"
                continue
            path, _, damage = _look(key)
            doomed = _leftovers(key, alone=True)
            if path is not None and (damage or key in whole):
                if until_deleted.enter_context(_unused(path)):
                    doomed += _files(path, key)
                else:
                    spared[key] = "a running process uses it"
            for file in doomed:
                freed += file.stat().st_size
                file.unlink()
            deleted += doomed
    return Cleaned(tuple(deleted), freed, spared)


def _entry(key: str) -> Entry:
    path, recorded, damage = _look(key)
    busy = bool(damage) and not _is_free(lock_of(sidecar_of(key)))
    if damage and not busy:
        path, recorded, damage = _look(key)  # it may have been finished in the meantime
    state: State = "being made" if busy else "half-written" if path is None else "damaged" if damage else "whole"
    files = [] if path is None else _files(path, key)
    leftovers = _leftovers(key, alone=False)
    stats = {file: stat for file in (*files, *leftovers) if (stat := _stat(file))}
    used = stats[sidecar_of(key)].st_mtime if sidecar_of(key) in stats else None
    size = sum(stat.st_size for stat in stats.values())
    return Entry(key, state, damage, recorded, tuple(files), tuple(leftovers), size, used)


def _look(key: str) -> tuple[Path | None, StoredModel | None, str]:
    """Return the path of the model (None without model and sidecar), its record and its damage."""
    recorded = recorded_model(key)
    usual = [models_dir() / f"{key}{suffix}" for suffix in SUFFIXES]
    there = [recorded.path] if recorded else [path for path in usual if path.exists()]
    if not there and not sidecar_of(key).exists():
        return None, None, "was not made to its end"
    path = (there or usual)[0]
    return path, recorded, damage_of(path, recorded)


def _files(path: Path, key: str) -> list[Path]:
    """List the files of a model in a safe order for deletion: a kill in between leaves no orphan."""
    return [file for file in (*derived_files(key), sidecar_of(key), path) if file.exists()]


def _leftovers(key: str, alone: bool) -> list[Path]:
    """List half-written files that no process is writing. alone: the caller holds the lock of the model."""
    left = []
    for path in sorted(models_dir().glob(f".{key}.*")):
        if match := _TEMPORARY.fullmatch(path.name):
            own = match["suffix"] in (*SUFFIXES, ".json")
            lock = lock_of(sidecar_of(key) if own else models_dir() / match["name"])
            if (own and alone) or _is_free(lock):
                left.append(path)
    return left


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Yield whether no process uses a model. None can start to inside the block."""
    if not path.exists():
        yield True
        return
    file = os.open(path, os.O_RDWR)  # network file systems grant exclusive locks only on files open for writing
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


def _is_free(lock: FileLock) -> bool:
    with if_free(lock) as free:
        return free


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
