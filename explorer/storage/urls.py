"""Parse database URLs, refuse invalid ones before anything is opened, and show URLs without passwords."""

import re
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from objectives.cache.files import cache_dir
from objectives.errors import StudyError, quoted, reason_of

DEFAULT_URL = "sqlite:///explorer.db"
# the arguments of a connection to an SQLite file; a URI may have more, which SQLite itself reads
ARGUMENTS = ("timeout", "check_same_thread", "isolation_level", "cached_statements", "detect_types", "uri")
URI = "file:"


def given(url: str | None) -> str:
    """Return the URL of `--storage`, or the default if it is None. Raises StudyError if it is not a database URL."""
    if url is None:
        return DEFAULT_URL
    parse(url)
    return url


def parse(url: str) -> URL:
    """Parse a database URL. Raises StudyError if it is not one, or if no study can be stored there."""
    if not url.strip():
        raise StudyError(f"--storage is empty: give a database URL such as {DEFAULT_URL}, or leave it out")
    if not url.isprintable():
        raise StudyError(f"--storage {quoted(without_password(url))}: holds what cannot be printed: leave that out")
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):
            raise ArgumentError("an @ in the password: what follows it would be looked up as a host, and shown")
    except (ArgumentError, ValueError):  # ValueError: a port that is not a number; both would show the password
        raise StudyError(
            f"--storage {without_password(url)!r} is not a database URL: use something like {DEFAULT_URL}, and write "
            "%40 for an @ in a password"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite(url, parsed)
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """Return the absolute path of an SQLite database; None for a URI or another kind of database."""
    if url.get_backend_name() != "sqlite" or str(url.database).startswith(URI):
        return None
    return Path(str(url.database)).resolve()


def _check_sqlite(url: str, parsed: URL) -> None:
    """Raise StudyError if an SQLite URL names no file, or an argument that SQLite does not take."""
    name, shown = str(parsed.database or ""), without_password(url)
    if parsed.host or parsed.username:
        raise StudyError(
            f"--storage {shown!r} names a host, which an SQLite file does not have: write three slashes, as in "
            f"{DEFAULT_URL}"
        )
    if name in ("", ":memory:") or (
        name.startswith(URI) and (":memory:" in name or "memory" in _argument(parsed, "mode"))
    ):
        raise StudyError(
            f"--storage {shown!r} is a database in memory, which is gone when the command ends: name a file, such as "
            f"{DEFAULT_URL}"
        )
    for key in parsed.query:
        if key not in ARGUMENTS and name.startswith(URI):
            continue
        if key not in ARGUMENTS:
            raise StudyError(
                f"--storage {shown!r}: {quoted(key)} is not an argument of an SQLite file: use one of "
                f"{', '.join(ARGUMENTS)}, or leave it out"
            )
        try:
            alone = parsed.set(database="x.db", query={key: parsed.query[key]})
            create_engine(alone).dialect.create_connect_args(alone)
        except (ArgumentError, ImportError):
            return  # the database's driver is not installed: opening the database reports it
        except (TypeError, ValueError) as error:
            raise StudyError(
                f"--storage {shown!r}: its argument {key} = {quoted(parsed.query[key])} cannot be used "
                f"({reason_of(error)}): correct it, or leave it out"
            ) from error
    _check_path(shown, name)


def _argument(parsed: URL, key: str) -> tuple[str, ...]:
    value = parsed.query.get(key, ())
    return (value,) if isinstance(value, str) else value


def _check_path(shown: str, name: str) -> None:
    if name.startswith(URI):
        return
    try:
        path = Path(name).resolve()
        folder = path.is_dir()
    except (OSError, ValueError) as error:  # ValueError: an incomplete character
        raise StudyError(f"--storage {shown!r}: no file has such a name ({reason_of(error)}): give another") from error
    if folder or name.endswith("/"):
        raise StudyError(
            f"--storage {shown!r} is a folder: name a file in it, such as sqlite:///{name.rstrip('/')}/explorer.db"
        )


# an absolute path in a message: a word that begins with a slash
_PATH = re.compile(r"(?<![\w.~])(?:[A-Za-z]:|~)?(?:[\\/]+[^\s\\/:'\"`,;()\[\]]+)+[\\/]?")
_SECRET = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def without_paths(text: str) -> str:
    """Return a message with every absolute path shortened to its last part, so that it does not reveal folders."""
    for folder in (cache_dir(), Path.home()):  # their names may hold spaces, which would end a path below
        if folder != Path("/"):
            text = text.replace(f"{folder}/", "/")
    return _PATH.sub(lambda path: re.split(r"[\\/]+", path.group().rstrip("\\/"))[-1], text)


def without_password(url: str) -> str:
    """Return a database URL, even a misspelt one, with `***` in place of the password."""
    login, at, rest = url.rpartition("@")
    if at and not url.startswith("sqlite"):  # SQLite's paths may hold an @
        scheme, slashes, user = login.partition("//")
        name, colon, _ = user.partition(":")
        shown = f"{scheme}//{name}" if slashes else ""
        url = f"{shown}{':***' if colon or not slashes else ''}@{rest}"
    return _SECRET.sub(r"\1***", url)
