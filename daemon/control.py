"""How do commands talk to the running daemon?

Knows sockets and JSON lines; what is asked is answered elsewhere (`daemon.questions`). A request
is one line, its answer any number of lines, the last of which is `{"end": ...}` or
`{"error": ...}`; then the connection is over. `MOST_AT_ONCE` are answered beside each other: more
than there can be questions to the model (`pipelines.requests`), so quick answers never wait for
slow ones. Who is slow to ask or to read is left after two seconds.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from pipelines.errors import SmolwatchError

Json = dict[str, Any]
Answer = Callable[[Json], Iterator[Json]]

MODE: Final = 0o660
POLL_S: Final = 0.25
PATIENCE_S: Final = 2.0
REQUEST_BYTES: Final = 65_536
MOST_AT_ONCE: Final = 16
ANSWER_S: Final = 30.0  # for the one who asks: the longest silence before or within an answer
_ENDED: Final = "{}: the daemon ended in the middle of its answer"
SYSTEM_SOCKET: Final = Path("/run/smolwatch/control.sock")


class ControlError(SmolwatchError):
    """The daemon cannot be asked, or refuses; the message says what to do."""


class NotRunning(ControlError):
    """Nobody answers, or no more: it may be about to start again."""


class ControlServer:
    """Listens at `path`, for its owner and its group. `answers`: operation -> what answers it."""

    def __init__(self, path: Path, answers: Mapping[str, Answer]) -> None:
        self._path = path
        self.answers = answers  # may be exchanged, from any thread

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`. Raises `ControlError` where it cannot listen."""
        running: set[Future[None]] = set()
        with self._listening() as listener, ThreadPoolExecutor(MOST_AT_ONCE, "control") as pool:
            while not stop.is_set():
                for over in [answer for answer in running if answer.done()]:
                    running.remove(over)
                    over.result()  # what nobody foresaw ends the daemon, as in any of its threads
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                running.add(pool.submit(self._serve, client))

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        if _is_alive(self._path):
            raise ControlError(f"{self._path}: another smolwatch listens there: end it first")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(MODE)  # before `listen`: nobody gets in by wider rights meanwhile
            listener.listen(8)
            listener.settimeout(POLL_S)
        except OSError as error:
            listener.close()
            raise ControlError(
                f"{self._path}: cannot listen there ({error.strerror or error}): name another "
                "place in control.path"
            ) from error
        try:
            yield listener
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # gone or too slow: its own affair
            self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """Send line by line, so that an answer that takes long is known to be under way."""
        left_s = PATIENCE_S  # for all of its reading
        with contextlib.closing(self._lines(_request(client))) as lines:
            for line in lines:
                began_s = time.monotonic()
                client.settimeout(max(0.01, left_s))
                client.sendall(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                left_s -= time.monotonic() - began_s

    def _lines(self, line: bytes) -> Generator[Json, None, None]:
        try:
            if len(line) > REQUEST_BYTES:
                raise ControlError("the request is longer than 64 KiB")
            request = json.loads(line)
            answer = self.answers.get(request["op"])
            if answer is None:
                known = ", ".join(self.answers)
                raise ControlError(f"this daemon answers {known}; is it older than the command?")
            yield from answer(request)
            yield {"end": True}
        except (KeyError, TypeError, ValueError) as error:
            yield {"error": f"the request is not understood ({error!r})"}
        except SmolwatchError as error:
            structlog.get_logger(__name__).info("control.refused", error=str(error))
            yield {"error": str(error)}


def knock(path: Path) -> None:
    """See whether a daemon listens, and to this user. Raises `ControlError`."""
    with _connected(path):
        pass


def ask(path: Path, request: Json) -> Iterator[Json]:
    """What the daemon answers. Raises `ControlError`."""
    with _connected(path) as link:
        link.sendall(json.dumps(request).encode() + b"\n")
        with link.makefile("rb") as stream:
            for line in stream:
                told = json.loads(line)
                if "error" in told:
                    raise ControlError(told["error"])
                if "end" in told:
                    return
                yield told
    raise NotRunning(_ENDED.format(path))


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """A connection; what goes wrong with it is told as `ControlError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(ANSWER_S)
        try:
            link.connect(str(path))
            yield link
        except PermissionError as error:
            raise ControlError(_refusal(path)) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(
                f"no smolwatch answers at {path}: is it running (systemctl status smolwatch)? "
                "Another place is named with --socket"
            ) from error
        except TimeoutError as error:
            raise ControlError(
                f"{path}: the daemon said nothing for {ANSWER_S:.0f} s: look into its log "
                "(journalctl -u smolwatch)"
            ) from error
        except ConnectionError as error:
            raise NotRunning(_ENDED.format(path)) from error
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror or error}") from error


def server_path(configured: Path | None, env: Mapping[str, str]) -> Path | None:
    """Where to listen; None where no place is named."""
    if configured is not None:
        return configured
    if folder := env.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(folder) / "control.sock"
    if folder := env.get("XDG_RUNTIME_DIR", ""):
        return Path(folder) / "smolwatch" / "control.sock"
    return None


def client_path(configured: Path | None, env: Mapping[str, str]) -> Path:
    """Where to ask: as named, else the user's own daemon if there is one, else the system's."""
    own = server_path(configured, env)
    return own if own is not None and (configured or own.exists()) else SYSTEM_SOCKET


def _request(client: socket.socket) -> bytes:
    """The client's line, as far as it comes in time. Raises `OSError`."""
    found = b""
    until_s = time.monotonic() + PATIENCE_S
    while b"\n" not in found and len(found) <= REQUEST_BYTES:
        client.settimeout(max(0.01, until_s - time.monotonic()))
        more = client.recv(REQUEST_BYTES)
        if not more:
            break
        found += more
    return found


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(POLL_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _refusal(path: Path) -> str:
    """Whom to join. The folder may hide the socket, and then its own group is the one."""
    for place in (path, path.parent):
        try:
            group = grp.getgrgid(place.stat().st_gid).gr_name
        except (OSError, KeyError):
            continue
        user = os.environ.get("USER", "$USER")
        return (
            f"{path}: only members of group {group} may talk to the daemon: "
            f"sudo usermod -aG {group} {user}, and log in again"
        )
    return f"{path}: this user may not talk to the daemon: join the group of that folder"
