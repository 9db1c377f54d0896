"""A PostgreSQL server of one's own, on a socket in a temporary folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from uuid import uuid4

NOBODY = "postgres"  # the server refuses to run as root; Debian's package makes this user


def binaries() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian hides them."""
    found = shutil.which("pg_ctl") or max(glob("/usr/lib/postgresql/*/bin/pg_ctl"), default=None)
    return None if found is None else Path(found).parent


@contextmanager
def server(programs: Path) -> Iterator[Path]:
    """Folder of the socket of a server that nobody else knows. programs: where initdb and pg_ctl are."""
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
        call(str(programs / "initdb"), "-D", data, "--username=explorer", "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call(str(programs / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield folder
        finally:
            call(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")


def new_database(socket: Path) -> str:
    """URL of an empty database of a server."""
    import psycopg

    name = f"studies_{uuid4().hex}"
    with psycopg.connect(host=str(socket), user="explorer", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://explorer@/{name}?host={socket}"
