"""optuna-dashboard on a snapshot of a storage: to look at, from this machine, and never to change anything.

optuna-dashboard has no login, and its routes delete studies. So it is given a copy, answers requests that read, and
answers only a browser that asked for this machine by name: a page from elsewhere that has its own name point here (DNS
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

# The page may load and send nothing beyond this server, whatever its scripts or a note of somebody else's study say;
# and no page from elsewhere may frame it, or use what it serves as an image or a script. Its scripts put styles into
# it, make workers from text, and compile plots.
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
    """One snapshot behind optuna-dashboard's own application. Raises StudyError where it cannot be read."""

    def __init__(self, source: Source, file: Path, before: "Served | None") -> None:
        self._file = file
        taken = datetime.now()
        source.copy_to(file)
        known = None if before is None else before._storage
        self._storage: SnapshotStorage = SnapshotStorage(file, source.name, known)
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
        """Delete the snapshot. Nothing may be asked of it any more."""
        self._storage.engine.dispose()
        for file in self._file.parent.glob(f"{self._file.name}*"):
            file.unlink()

    def _page(self, study_id: int, environ: WSGIEnvironment) -> Page | None:
        """The page of a study; None where there is none, as the dashboard will say."""
        with self._making:  # all browsers wait for the first one
            if study_id not in self._pages and study_id in self._annotations:
                whole = environ | {"REQUEST_METHOD": "GET", "QUERY_STRING": "after=0"}
                # the framework keeps what it makes of a request in its environ
                whole = {key: value for key, value in whole.items() if not key.startswith("bottle.")}
                status: list[str] = []
                answer = b"".join(self._application(whole, lambda line, *_: status.append(line)))
                if not status[0].startswith("200"):
                    return None
                self._pages[study_id] = complete(answer, self._annotations[study_id])
            return self._pages.get(study_id)


class Dashboard:
    """The latest snapshot of a source, and the guard before it. folder: of snapshots. port: that it is served on."""

    def __init__(self, source: Source, folder: Path, port: int) -> None:
        self._source, self._folder = source, folder
        self._hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
        self._switch = threading.Lock()
        self._users: dict[Served, int] = {}  # requests that each snapshot is answering
        self._taken = 0
        self._current = self._take(None)

    @property
    def studies(self) -> int:
        """Number of studies in the latest snapshot."""
        return self._current.studies

    def refresh(self) -> bool:
        """Replace the snapshot where the source has changed. Requests go on meanwhile; one thread may refresh.

        Raises StudyError where the source cannot be read: the snapshot stays.
        """
        if not self._source.has_changed():
            return False
        old, new = self._current, self._take(self._current)
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
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # the dashboard ends with a traceback without it
        with self._switch:
            served = self._current
            self._users[served] = self._users.get(served, 0) + 1
        try:
            # a list: when it is made, nothing reads the snapshot any more
            return list(served(environ, _private(start_response)))
        finally:
            self._leave(served)

    def close(self) -> None:
        """Delete the snapshot, when no request is answered any more."""
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

    def _take(self, before: Served | None) -> Served:
        self._taken += 1
        with machine.working():  # a study that takes time on this machine has it to itself
            return Served(self._source, self._folder / f"{self._taken}.db", before)


def _private(start_response: StartResponse) -> Callable[..., Any]:
    """Without leave for pages from elsewhere to read the answer, which the dashboard gives for artifacts, and with
    what forbids the page itself to reach elsewhere."""

    def start(status: str, headers: Headers, *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        return start_response(status, [*kept, *PRIVATE], *more)

    return start


def _number(query: str) -> int:
    """`after` of a query; 0 where it is none."""
    after = parse_qs(query).get("after", ["0"])[0]
    return int(after) if after.isdecimal() else 0


def _refuse(start_response: StartResponse, status: str, why: str) -> list[bytes]:
    # the dashboard's pages show `reason`
    return _answer(start_response, status, "application/json", json.dumps({"reason": why}).encode())


def _answer(start_response: StartResponse, status: str, kind: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
