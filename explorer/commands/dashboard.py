"""`explorer dashboard`: serve optuna-dashboard with figures and notes added."""

import errno
import socketserver
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
import typer
from rich.console import Console

from explorer.commands.study_options import StorageOption
from explorer.storage import urls
from explorer.terminal.screen import say, screen
from objectives.errors import ExplorerError, StudyError

if TYPE_CHECKING:  # imports plotly, which `explorer --help` should not load
    from explorer.dashboard.server import Dashboard

HOST = "127.0.0.1"
DEFAULT_PORT = 8080
GRACE = 5.0  # seconds that shutdown waits for a copy in progress


def dashboard(
    storage_url: StorageOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free port.")] = DEFAULT_PORT,
    refresh: Annotated[
        float, typer.Option(min=0, help="Seconds between checks of the storage; 0 to keep the first copy.")
    ] = 30.0,
) -> None:
    """Browse all studies of a storage, while they run or afterwards.

    Serves optuna-dashboard on 127.0.0.1 only, from a **copy** of the storage. The original is only read: a running
    study is neither locked nor slowed while it measures time, and nothing you click can change or delete it.
    The storage is checked every *refresh* seconds. When a trial has begun or ended, a new copy replaces the old one;
    reload the page to see its notes and figures.

    Each study of the explorer has **figures** (the front with its fixed points, DER against latency, hypervolume,
    importance: on its first page, below the dashboard's own) and a **note** (the front as a table, how to read the
    figures, data, machine, definition). Each trial has a note and **artifacts**: DER by recording, as a plot and as
    CSV.

        explorer dashboard

        explorer dashboard --storage sqlite:///studies.db --port 8081

        explorer dashboard --refresh 0

    On a remote machine, forward the port: `ssh -L 8080:127.0.0.1:8080 MACHINE`.
    """
    from explorer.dashboard.server import Dashboard
    from explorer.storage.snapshot import Source

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="optuna")  # from the dashboard's own importance plot
    console = screen(stderr=True)
    source = Source(urls.given(storage_url))
    temporary = tempfile.TemporaryDirectory(prefix="explorer-dashboard-", ignore_cleanup_errors=True)
    try:
        # bind the port first: without one, a copy cannot be shown
        with _listen(port) as server, temporary as folder:
            say(f"Copying {source.name} …", console)
            shown = Dashboard(source, Path(folder), server.server_port)
            server.set_app(shown)
            with _kept_up(shown, refresh, console):
                typer.echo(f"{shown.studies} studies: http://{HOST}:{server.server_port}/dashboard (Ctrl-C ends it)")
                server.serve_forever()
    except KeyboardInterrupt:
        say("Ended. The studies are as they were.", console)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Serve each request in a thread of its own: a browser sends several at once, and an answer may be slow."""

    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of this machine, as the parent classes do."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    """Handle requests without logging a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        return


def _listen(port: int) -> _Server:
    try:
        return _Server((HOST, port), _Handler)
    except OSError as error:
        what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise ExplorerError(
            f"port {port} of {HOST} {what}: give another one with --port, or 0 for any free one"
        ) from error


@contextmanager
def _kept_up(shown: "Dashboard", seconds: float, console: Console) -> Iterator[None]:
    """Refresh every so many seconds inside the block; never if `seconds` is 0. A failed read is retried next time; the
    last copy is shown meanwhile."""
    stop = threading.Event()

    def keep_up() -> None:
        complaint = ""
        while not stop.wait(seconds):
            try:
                if shown.refresh():
                    say("A new copy is shown.", console)
                complaint = ""
            except StudyError as error:
                if str(error) != complaint:
                    say(f"The last copy stays: {error}", console)
                complaint = str(error)

    keeper = threading.Thread(target=keep_up, daemon=True)
    if seconds:
        keeper.start()
    try:
        yield
    finally:
        stop.set()
        if keeper.is_alive():
            keeper.join(GRACE)  # a copy still being written would land in a folder that is about to be deleted
