"""Who can talk to what `explorer` opens: raw requests to the dashboard, and every port of a local Dask cluster."""

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.commands.dashboard import _listen
from explorer.dashboard.server import Dashboard
from explorer.storage.snapshot import Source
from explorer.workers.dask_cluster import local_workers
from tests.support import dashboard_study
from tests.support.forked_processes import PATIENCE
from tests.support.remote_evaluators import StandIn

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/tcp")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A dashboard's, as `explorer dashboard` opens it."""
    folder = tmp_path_factory.mktemp("dashboard")
    dashboard_study.run(f"sqlite:///{folder}/studies.db", trials=2)
    (folder / "copies").mkdir()
    with _listen(0) as server:
        dashboard = Dashboard(Source(f"sqlite:///{folder}/studies.db"), folder / "copies", server.server_port)
        server.set_app(dashboard)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
        dashboard.close()


def ask(port: int, *lines: str) -> tuple[int, str]:
    """(status, everything that is answered) of a request as bytes on a socket; %p stands for the port."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).replace("%p", str(port)).encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: connection.recv(2**16), b"")).decode("latin-1")
    found = re.match(r"HTTP/1\.[01] (\d+)", told)
    return (int(found[1]) if found else 0), told


@pytest.mark.parametrize("host", ["127.0.0.1:%p", "localhost:%p"])
def test_a_browser_on_this_machine_is_answered_and_told_to_reach_nobody_else(port: int, host: str) -> None:
    status, told = ask(port, "GET /api/studies HTTP/1.1", f"Host: {host}")
    assert status == 200
    assert dashboard_study.NAME in told
    assert "Content-Security-Policy: default-src 'self';" in told
    assert "Cross-Origin-Resource-Policy: same-origin" in told
    assert "access-control" not in told.lower()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Host:",),
        ("Host: evil.example",),
        ("Host: evil.example:%p",),
        ("Host: 127.0.0.1",),
        ("Host: 127.0.0.1:80",),
        ("Host: 127.0.0.1:%p.evil.example",),
        ("Host: 127.0.0.1:%p@evil.example",),
        ("Host: evil.example@127.0.0.1:%p",),
        ("Host: 127.0.0.1:0%p",),
        ("Host: 127.1:%p",),
        ("Host: 0.0.0.0:%p",),
        ("Host: 2130706433:%p",),
        ("Host: [::ffff:127.0.0.1]:%p",),
        ("Host: localhost.:%p",),
        ("Host: localhost.evil.example:%p",),
        ("Host: 127.0.0.1:%p, evil.example",),
        ("Host: 127.0.0.1:%p", "Host: evil.example"),
        ("Host: evil.example", "Host: 127.0.0.1:%p"),
        ("Host: evil.example", "X-Forwarded-Host: 127.0.0.1:%p"),
        ("Host: evil.example", "Forwarded: host=127.0.0.1:%p"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_this_machines_is_refused(port: int, headers: tuple[str, ...]) -> None:
    """A page from elsewhere whose own name leads here (DNS rebinding) has that name in its requests."""
    status, told = ask(port, "GET /api/studies HTTP/1.1", *headers)
    assert status in (400, 403)
    assert dashboard_study.NAME not in told


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "NONSENSE"])
@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/1", "/api/studies/1/note"])
def test_a_page_from_elsewhere_can_change_nothing(port: int, method: str, path: str) -> None:
    """The request that a form or a script on another page can send: the browser adds the right Host by itself."""
    status, told = ask(
        port, f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:%p", "Origin: http://evil.example", "Content-Length: 0"
    )
    assert status in (400, 403)
    assert dashboard_study.NAME not in told
    assert "access-control" not in told.lower()


@pytest.mark.parametrize(
    "path", ["/static/../../../../../../etc/passwd", "/static/%2e%2e/%2e%2e/_app.py", "//etc/passwd"]
)
def test_only_the_dashboards_own_files_are_served(port: int, path: str) -> None:
    status, told = ask(port, f"GET {path} HTTP/1.1", "Host: 127.0.0.1:%p")
    assert status in (403, 404)
    assert "root:" not in told
    assert "import bottle" not in told


def listening() -> dict[str, str]:
    """Inode of each TCP socket that listens on this machine: the address, as the kernel writes it."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found[fields[9]] = fields[1].partition(":")[0]
    return found


def addresses_of(processes: set[int]) -> list[str]:
    """What the sockets of these processes listen on."""
    sockets = listening()
    found = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = os.readlink(link)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return [sockets[inode] for inode in found if inode in sockets]


def descendants(process: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


@LINUX
def test_a_dashboard_listens_on_this_machine_alone(port: int) -> None:
    assert set(addresses_of({os.getpid()})) == {"0100007F"}  # 127.0.0.1


@LINUX
def test_every_port_of_local_workers_is_open_to_this_machine_alone(tmp_path: Path) -> None:
    before = set(addresses_of({os.getpid()}))
    with local_workers(1, StandIn(tmp_path), lambda *word: None):
        opened = addresses_of(descendants(os.getpid()))
    assert len(opened) > 2
    assert set(opened) - before <= {"0100007F"}
