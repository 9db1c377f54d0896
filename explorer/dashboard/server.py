"""optuna-dashboard on a snapshot of a storage: viewable from this machine only, and read-only.

optuna-dashboard has no login, and its routes delete studies. So it gets a copy and answers only read requests, and only
from a browser that asked for this machine by name. A page from elsewhere whose own name resolves to this machine (DNS
rebinding) is refused.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

import optuna_dashboard

from explorer.dashboard.annotations import Artifacts, annotate
from explorer.dashboard.responses import Page, complete
from explorer.storage.snapshot import SnapshotStorage, Source
from objectives import machine

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")
READING = ("GET", "HEAD")

# The page may load and send nothing beyond this server, whatever its scripts or a note in somebody else's study say.
# No page from elsewhere may frame it, or use its content as an image or a script. Its own scripts add styles, make
# workers from text, and compile plots.
PRIVATE = (
    (
        "Content-Security-Policy",
        "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
STUDY = re.compile(r"/api/studies/(\d+)/?")
ARTIFACT = re.compile(r"/artifacts/(?:\d+/)?\d+/([0-9a-fA-F-]+)/?")
Headers = list[tuple[str, str]]


class Served:
    """One snapshot behind optuna-dashboard's own application. Raises StudyError if it cannot be read."""

    def __init__(self, source: Source, file: Path) -> None:
        self._file = file
        taken = datetime.now()
        source.copy_to(file)
        self._storage = SnapshotStorage(file, source.name)
        self._annotations = annotate(self._storage, source.name, taken)
        self._artifacts = Artifacts(self._storage)
        self._application = optuna_dashboard.wsgi(self._storage, artifact_store=self._artifacts)
        self._pages: dict[int, Page] = {}
        self._making = threading.Lock()
        self.studies = len(self._annotations)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if (study := STUDY.fullmatch(path)) and (page := self._page(int(study[1]), environ)) is not None:
            since = _number(environ.get("QUERY_STRING", ""))
            return _answer(start_response, "200 OK", "application/json", page.since(since))
        if (artifact := ARTIFACT.fullmatch(path)) and not self._artifacts.has(artifact[1]):
            return _refuse(start_response, "404 Not Found", "this artifact is in another store than the dashboard's")
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer

    def close(self) -> None:
        """Delete the snapshot. No request may be sent to it afterwards."""
        self._storage.engine.dispose()
        for file in self._file.parent.glob(f"{self._file.name}*"):
            file.unlink()

    def _page(self, study_id: int, environ: WSGIEnvironment) -> Page | None:
        """Return the page of a study; None if there is no such study, which the dashboard will say."""
        with self._making:  # all browsers wait for the first page
            if study_id not in self._pages and study_id in self._annotations:
                whole = environ | {"REQUEST_METHOD": "GET", "QUERY_STRING": "after=0"}
                # bottle keeps what it derives from a request in its environ
                whole = {key: value for key, value in whole.items() if not key.startswith("bottle.")}
                status: list[str] = []
                answer = b"".join(self._application(whole, lambda line, *_: status.append(line)))
                if not status[0].startswith("200"):
                    return None
                self._pages[study_id] = complete(answer, self._annotations[study_id])
            return self._pages.get(study_id)


class Dashboard:
    """The latest snapshot of a source, and the guard in front of it. folder: for snapshots. port: of the server."""

    def __init__(self, source: Source, folder: Path, port: int) -> None:
        self._source, self._folder = source, folder
        self._hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
        self._switch = threading.Lock()
        self._users: dict[Served, int] = {}  # number of requests that each snapshot is answering
        self._taken = 0
        self._current = self._take()

    @property
    def studies(self) -> int:
        """Number of studies in the latest snapshot."""
        return self._current.studies

    def refresh(self) -> bool:
        """Replace the snapshot if the source has changed. Requests go on meanwhile; only one thread may refresh.

        Raises StudyError if the source cannot be read: the snapshot stays.
        """
        if not self._source.has_changed():
            return False
        old, new = self._current, self._take()
        with self._switch:
            self._current = new
            unused = not self._users.get(old)
        if unused:
            old.close()
        return True

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_HOST", "") not in self._hosts:
            return _refuse(start_response, "403 Forbidden", "this dashboard answers to localhost and 127.0.0.1 only")
        if environ["REQUEST_METHOD"] not in READING:
            why = (
                "this is a copy to look at: nothing can be changed here; use `explorer run`, or Optuna, on the original"
            )
            return _refuse(start_response, "403 Forbidden", why)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # without it the dashboard fails with a traceback
        with self._switch:
            served = self._current
            self._users[served] = self._users.get(served, 0) + 1
        try:
            # a list: once it is built, nothing reads the snapshot any more
            return list(served(environ, _private(start_response)))
        finally:
            self._leave(served)

    def close(self) -> None:
        """Delete the snapshot once no request is being answered."""
        self._current.close()

    def _leave(self, served: Served) -> None:
        with self._switch:
            self._users[served] -= 1
            last = self._users[served] == 0
            if last:
                del self._users[served]
            unused = last and served is not self._current
        if unused:
            served.close()

    def _take(self) -> Served:
        self._taken += 1
        with machine.working():  # waits for a study that is timing on this machine
            return Served(self._source, self._folder / f"{self._taken}.db")


def _private(start_response: StartResponse) -> Callable[..., Any]:
    """Remove the permission for other origins to read the answer, which the dashboard gives for artifacts, and add the
    headers that keep the page from reaching elsewhere."""

    def start(status: str, headers: Headers, *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        return start_response(status, [*kept, *PRIVATE], *more)

    return start


def _number(query: str) -> int:
    """Return `after` of a query; 0 if it is not a number."""
    after = parse_qs(query).get("after", ["0"])[0]
    return int(after) if after.isdecimal() else 0


def _refuse(start_response: StartResponse, status: str, why: str) -> list[bytes]:
    # the dashboard's pages display `reason`
    return _answer(start_response, status, "application/json", json.dumps({"reason": why}).encode())


def _answer(start_response: StartResponse, status: str, kind: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
