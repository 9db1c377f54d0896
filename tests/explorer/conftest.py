"""What the tests of the explorer share."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Engine

if TYPE_CHECKING:  # tests without it do not wait for torch
    from tests.explorer.exportable import Exports

NOBODY = "postgres"  # the server refuses to run as root; Debian's package makes this user


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
    from tests.explorer.exportable import make_exports

    return make_exports(excerpts, tmp_path_factory.mktemp("exports"))


def _binaries() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian hides them."""
    found = shutil.which("pg_ctl") or max(glob("/usr/lib/postgresql/*/bin/pg_ctl"), default=None)
    return None if found is None else Path(found).parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """Folder of the socket of a server that only this test knows."""
    if "EXPLORER_REQUIRE_POSTGRES" in os.environ:
        import psycopg  # noqa: F401 — where it is required, its absence is a failure
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install psycopg[binary]")
    binaries = _binaries()
    if binaries is None:
        assert "EXPLORER_REQUIRE_POSTGRES" not in os.environ, "no PostgreSQL server is installed"
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    user = NOBODY if os.getuid() == 0 else None
    # a socket's path may have 107 characters, which pytest's folders use up
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def call(*command: str) -> None:
            done = subprocess.run(command, user=user, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert done.returncode == 0, done.stdout.decode()

        data = str(folder / "data")
        call(str(binaries / "initdb"), "-D", data, "--username=explorer", "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call(str(binaries / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield folder
        finally:
            call(str(binaries / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")


@pytest.fixture
def postgres_url(postgres_server: Path) -> str:
    """A database of one's own."""
    import psycopg

    name = f"studies_{uuid4().hex}"
    with psycopg.connect(host=str(postgres_server), user="explorer", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://explorer@/{name}?host={postgres_server}"
