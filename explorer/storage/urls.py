"""Database URLs as people type them: read once, refused with the reason before anything is opened, and shown without
passwords."""

import re
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from objectives.cache.files import cache_dir
from objectives.errors import StudyError, quoted, reason_of

DEFAULT_URL = "sqlite:///explorer.db"
# what a connection to an SQLite file takes; the file of a URI takes more, which SQLite itself reads
ARGUMENTS = ("timeout", "check_same_thread", "isolation_level", "cached_statements", "detect_types", "uri")
URI = "file:"


def given(url: str | None) -> str:
    """The URL of `--storage`; the default one where it was left out. Raises StudyError where it is none."""
    if url is None:
        return DEFAULT_URL
    parse(url)
    return url


def parse(url: str) -> URL:
    """A database URL in its parts. Raises StudyError where it is none, or one that no study can lie at."""
    if not url.strip():
        raise StudyError(f"--storage is empty: give a database URL such as {DEFAULT_URL}, or leave it out")
    if not url.isprintable():
        raise StudyError(f"--storage {quoted(without_password(url))}: holds what cannot be printed: leave that out")
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):
            raise ArgumentError("an @ in the password: what follows it would be looked up as a host, and shown")
    except (ArgumentError, ValueError):  # ValueError: a port that is no number; both repeat what they were given
        raise StudyError(
            f"--storage {without_password(url)!r} is not a database URL: use something like {DEFAULT_URL}, and write "
            "%40 for an @ in a password"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite(url, parsed)
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """Absolute path of an SQLite database, None for another kind or a URI."""
    if url.get_backend_name() != "sqlite" or str(url.database).startswith(URI):
        return None
    return Path(str(url.database)).resolve()


def _check_sqlite(url: str, parsed: URL) -> None:
    """Raise StudyError where an SQLite URL names no file, or an argument that SQLite does not take."""
    name, told = str(parsed.database or ""), without_password(url)
    if parsed.host or parsed.username:
        raise StudyError(
            f"--storage {told!r} names a host, which an SQLite file has not: write three slashes, as in {DEFAULT_URL}"
        )
    if name in ("", ":memory:") or (name.startswith(URI) and (":memory:" in name or "memory" in _told(parsed, "mode"))):
        raise StudyError(
            f"--storage {told!r} is a database in memory, which is gone when the command ends: name a file, such as "
            f"{DEFAULT_URL}"
        )
    for key in parsed.query:
        if key not in ARGUMENTS and name.startswith(URI):
            continue
        if key not in ARGUMENTS:
            raise StudyError(
                f"--storage {told!r}: {quoted(key)} is not an argument of an SQLite file: use one of "
                f"{', '.join(ARGUMENTS)}, or leave it out"
            )
        try:
            alone = parsed.set(database="x.db", query={key: parsed.query[key]})
            create_engine(alone).dialect.create_connect_args(alone)
        except (ArgumentError, ImportError):
            return  # a driver that is not there: whoever opens the database says so
        except (TypeError, ValueError) as error:
            raise StudyError(
                f"--storage {told!r}: its argument {key} = {quoted(parsed.query[key])} cannot be used "
                f"({reason_of(error)}): correct it, or leave it out"
            ) from error
    _check_path(told, name)


def _told(parsed: URL, key: str) -> tuple[str, ...]:
    value = parsed.query.get(key, ())
    return (value,) if isinstance(value, str) else value


def _check_path(told: str, name: str) -> None:
    if name.startswith(URI):
        return
    try:
        path = Path(name).resolve()
        folder = path.is_dir()
    except (OSError, ValueError) as error:  # ValueError: half a character
        raise StudyError(f"--storage {told!r}: no file has such a name ({reason_of(error)}): give another") from error
    if folder or name.endswith("/"):
        raise StudyError(
            f"--storage {told!r} is a folder: name a file in it, such as sqlite:///{name.rstrip('/')}/explorer.db"
        )


# an absolute path in a message: slashes that begin a word
_PATH = re.compile(r"(?<![\w.~])(?:[A-Za-z]:|~)?(?:[\\/]+[^\s\\/:'\"`,;()\[\]]+)+[\\/]?")
_SECRET = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def without_paths(text: str) -> str:
    """A message with every absolute path cut down to its last name: where files lie is nobody else's business."""
    for folder in (cache_dir(), Path.home()):  # whose names may hold spaces, which end a path below
        if folder != Path("/"):
            text = text.replace(f"{folder}/", "/")
    return _PATH.sub(lambda found: re.split(r"[\\/]+", found.group().rstrip("\\/"))[-1], text)


def without_password(url: str) -> str:
    """A database URL for people, also one that is misspelt: `***` where the password was."""
    login, at, rest = url.rpartition("@")
    if at and not url.startswith("sqlite"):  # whose paths may hold an @
        scheme, slashes, user = login.partition("//")
        name, colon, _ = user.partition(":")
        shown = f"{scheme}//{name}" if slashes else ""
        url = f"{shown}{':***' if colon or not slashes else ''}@{rest}"
    return _SECRET.sub(r"\1***", url)
