"""What does a camera say over RTSP?

Knows RTSP 1.0 (RFC 2326) and when what is sent; packets are `tests.rtp`'s, what goes wrong is
`tests.rtsp_faults`', logins are `tests.rtsp_auth`'s. Nothing of smolwatch. Run it with
`python -m tests.rtsp_server FILE --port 8554` to have a camera to try things on.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import get_args
from urllib.parse import quote

from tests import rtp
from tests.h264 import Clip, load_clip
from tests.rtsp_auth import Login, Scheme
from tests.rtsp_faults import Faults, repeat

_REPORT_S = 1.0  # between sender reports
_REASONS = {
    200: "OK",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    461: "Unsupported Transport",
    500: "Internal Server Error",
}


class RtspServer:
    """A camera that plays an H.264 file, over and over, in real time, to any number of clients.

    Each client starts at the clip's beginning; time stamps go on when it repeats. `stop` breaks
    every connection as a killed process would, `start` comes back on the same port. `pause` keeps
    connections open and sends no picture, as a hung camera does. `faults` are what else goes wrong.
    """

    def __init__(
        self,
        path: Path,
        port: int = 0,
        *,
        login: Login | None = None,
        name: str = "stream",
        faults: Faults | None = None,
    ) -> None:
        self.clip: Clip = load_clip(path)
        self.port = port
        self.name = name
        self.login = login or Login()
        self.faults = faults or Faults()
        self.sent = 0  # pictures, to all clients together
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self._clients: set[_Client] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The stream's address, with the right login if there is one."""
        login = f"{self.login.user}:{quote(self.login.password, safe='')}@"
        login = login if self.login.user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/{self.name}"

    @property
    def playing(self) -> int:
        """How many clients are being sent pictures."""
        return sum(client.playing for client in list(self._clients))

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        if self._listener is not None:
            # close() alone leaves a thread in accept(), and the port with it
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for client in list(self._clients):
            client.hang_up()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def wait_flowing(self, stop: threading.Event) -> bool:
        """Wait while paused; False once `stop` is set."""
        while not stop.is_set():
            if self._flowing.wait(0.05):
                return True
        return False

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            client = _Client(self, connection)
            self._clients.add(client)
            self._spawn(self._serve, client)

    def _serve(self, client: _Client) -> None:
        try:
            client.serve()
        finally:
            client.hang_up()
            self._clients.discard(client)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


class _Client:
    """One connection: requests on it are answered in `serve`, media is sent by a second thread."""

    def __init__(self, server: RtspServer, connection: socket.socket) -> None:
        self.playing = False
        self._server = server
        self._socket = connection
        self._input = connection.makefile("rb")
        self._gone = threading.Event()
        self._sending = threading.Lock()  # an answer must not land inside an RTP packet
        self._sequence = 0

    def hang_up(self) -> None:
        self._gone.set()
        self.playing = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._gone.is_set():
                request = self._read_request()
                if request is None:
                    return
                self._answer(*request)

    def _read_request(self) -> tuple[str, str, dict[str, str]] | None:
        """Method, address and headers; what the client sends of RTCP is skipped."""
        while (first := self._input.read(1)) == b"$":
            _, size = struct.unpack(">BH", self._input.read(3))
            self._input.read(size)
        if not first:
            return None
        method, url, _ = (first + self._input.readline()).decode().split(" ", 2)
        headers = {}
        while line := self._input.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return method, url, headers

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> None:
        if not self._server.faults.answers(method):
            return
        status, extra, body = self._reply_to(method, url, headers)
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in extra.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._send("\r\n".join([*lines, "", body]).encode())
        if method == "PLAY" and status == 200 and not self.playing:
            self.playing = True
            threading.Thread(target=self._play_and_hang_up, daemon=True).start()
            if self._server.faults.audio:
                threading.Thread(target=self._play_audio, daemon=True).start()
        if method == "TEARDOWN":
            self._gone.set()

    def _reply_to(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        if method == "OPTIONS":
            return 200, {"Public": "DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"}, ""
        refused = self._refusal(method, url, headers)
        if refused:
            asks = {"WWW-Authenticate": self._server.login.challenge} if refused == 401 else {}
            return refused, asks, ""
        if method == "DESCRIBE":
            body = rtp.sdp(self._server.clip, audio=self._server.faults.audio)
            body = self._server.faults.sdp(body)
            return 200, {"Content-Base": f"{url}/", "Content-Type": "application/sdp"}, body
        transport = headers.get("transport", "")
        agreed = {"Transport": transport} if method == "SETUP" else {}
        return 200, {"Session": "1;timeout=60", **agreed}, ""

    def _refusal(self, method: str, url: str, headers: dict[str, str]) -> int:
        """The status of a request that is not granted; 0 if it is."""
        if not self._server.login.accepts(method, headers.get("authorization", "")):
            return 401
        if f"/{self._server.name}" not in url:
            return 404
        if method == "SETUP" and "interleaved" not in headers.get("transport", ""):
            return 461
        return self._server.faults.status.get(method, 0)

    def _play_and_hang_up(self) -> None:
        try:
            self._play()
        finally:
            self.hang_up()

    def _play(self) -> None:
        begun_s = time.monotonic()
        report_s = 0.0
        with contextlib.suppress(OSError):
            for unit in self._server.faults.media(repeat(self._server.clip)):
                if self._gone.wait(max(0.0, begun_s + unit.dts_s - time.monotonic())):
                    return
                if not self._server.wait_flowing(self._gone):
                    return
                offset_s = self._server.faults.clock_offset_s
                if offset_s is not None and unit.dts_s >= report_s:
                    report_s = unit.dts_s + _REPORT_S
                    self._send(rtp.sender_report(unit.pts_s, time.time() + offset_s))
                self._send_picture(unit.nals, unit.pts_s)
                self._server.sent += 1

    def _play_audio(self) -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                if self._gone.wait(rtp.AUDIO_S):
                    return
                self._send(rtp.silence(number))

    def _send_picture(self, nals: tuple[bytes, ...], pts_s: float) -> None:
        for packet in rtp.packets(nals, self._server.clip.codec, pts_s, self._sequence + 1):
            self._sequence += 1
            self._send(self._server.faults.wire(packet))

    def _send(self, octets: bytes) -> None:
        with self._sending:
            self._socket.sendall(octets)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a video file as an RTSP camera.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--scheme", choices=get_args(Scheme), default="basic")
    options = parser.parse_args()
    login = Login(options.user, options.password, options.scheme)
    server = RtspServer(options.file, options.port, login=login)
    with server:
        print(server.url, flush=True)  # noqa: T201 - a program's output
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
