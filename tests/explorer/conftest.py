"""What the tests of the explorer share."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.support.postgres_server import binaries, new_database, server

if TYPE_CHECKING:  # tests without it do not wait for torch
    from tests.support.export_study import Exports


def _no_flush(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def no_flush() -> Iterator[None]:
    """Spare the disk a flush at each of thousands of commits: no test here survives a power cut anyway."""
    event.listen(Engine, "connect", _no_flush)
    yield
    if event.contains(Engine, "connect", _no_flush):  # tests/faults has this fixture too
        event.remove(Engine, "connect", _no_flush)


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Opening a storage compiles all of Optuna's schema migrations, each time: by far the longest part of a test."""
    read = ScriptDirectory.from_config
    known: list[ScriptDirectory] = []

    def read_once(config: Config) -> ScriptDirectory:
        if not known:
            known.append(read(config))
        return known[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A storage of one's own."""
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture(scope="session")
def exports(excerpts: Path, tmp_path_factory: pytest.TempPathFactory) -> "Exports":
    """A real study and the bundles of its two points."""
    from tests.support.export_study import make_exports

    return make_exports(excerpts, tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """Folder of the socket of a server that only this test knows."""
    if "EXPLORER_REQUIRE_POSTGRES" in os.environ:
        import psycopg  # noqa: F401 — where it is required, its absence is a failure
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install psycopg[binary]")
    programs = binaries()
    if programs is None:
        assert "EXPLORER_REQUIRE_POSTGRES" not in os.environ, "no PostgreSQL server is installed"
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    with server(programs) as folder:
        yield folder


@pytest.fixture
def postgres_url(postgres_server: Path) -> str:
    """A database of one's own."""
    return new_database(postgres_server)
