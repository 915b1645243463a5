"""What does a camera say over RTSP?

Knows RTSP 1.0 (RFC 2326), RTP over the same TCP connection (its section 10.12) and H.264 in RTP
(RFC 6184: single NAL units and FU-A); nothing of smolwatch. Run it with
`python -m tests.rtsp_server FILE --port 8554` to have a camera to try things on.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.h264 import H264Clip, load_clip

_RTP_CLOCK_HZ = 90_000
_PAYLOAD_TYPE = 96
_FIRST_TICKS = 2**32 - 185_001  # any number will do; this one wraps after 2 s
_MTU = 1400  # bytes of payload in one RTP packet
_FU_A = 28
_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 461: "Unsupported Transport"}


class RtspServer:
    """A camera that plays an H.264 file, over and over, in real time, to any number of clients.

    Each client starts at the clip's beginning; time stamps go on when it repeats. `stop` breaks
    every connection as a killed process would, `start` comes back on the same port. `pause` keeps
    connections open and sends nothing, as a hung camera does.
    """

    def __init__(
        self, path: Path, port: int = 0, *, user: str = "", password: str = "", name: str = "stream"
    ) -> None:
        self.clip: H264Clip = load_clip(path)
        self.port = port
        self.name = name
        self.login = f"{user}:{password}" if user else ""
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self._clients: set[_Client] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The stream's address, with the right login if there is one."""
        login = f"{self.login}@" if self.login else ""
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
        status, extra, body = self._reply_to(method, url, headers)
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in extra.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._send("\r\n".join([*lines, "", body]).encode())
        if method == "PLAY" and status == 200 and not self.playing:
            self.playing = True
            threading.Thread(target=self._play, daemon=True).start()
        if method == "TEARDOWN":
            self._gone.set()

    def _reply_to(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        if method == "OPTIONS":
            return 200, {"Public": "DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"}, ""
        if not self._may_enter(headers):
            return 401, {"WWW-Authenticate": 'Basic realm="camera"'}, ""
        if f"/{self._server.name}" not in url:
            return 404, {}, ""
        if method == "DESCRIBE":
            return 200, {"Content-Base": f"{url}/", "Content-Type": "application/sdp"}, self._sdp()
        if method == "SETUP" and "interleaved" not in headers.get("transport", ""):
            return 461, {}, ""
        transport = (
            {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"} if method == "SETUP" else {}
        )
        return 200, {"Session": "1;timeout=60", **transport}, ""

    def _may_enter(self, headers: dict[str, str]) -> bool:
        login = self._server.login
        basic = "Basic " + base64.b64encode(login.encode()).decode()
        return not login or headers.get("authorization") == basic

    def _sdp(self) -> str:
        clip = self._server.clip
        sets = ",".join(base64.b64encode(nal).decode() for nal in (clip.sps, clip.pps))
        profile = clip.sps[1:4].hex()
        form = f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}"
        lines = [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=test camera",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}",
            f"a=rtpmap:{_PAYLOAD_TYPE} H264/{_RTP_CLOCK_HZ}",
            f"a=fmtp:{_PAYLOAD_TYPE} {form}",
            "a=control:track1",
            "",
        ]
        return "\r\n".join(lines)

    def _play(self) -> None:
        begun_s = time.monotonic()
        with contextlib.suppress(OSError):
            for nals, pts_s, dts_s in self._timeline():
                if self._gone.wait(max(0.0, begun_s + dts_s - time.monotonic())):
                    return
                if not self._server.wait_flowing(self._gone):
                    return
                self._send_picture(nals, pts_s)

    def _timeline(self) -> Iterator[tuple[tuple[bytes, ...], float, float]]:
        offset_s = 0.0
        while True:
            for unit in self._server.clip.units:
                yield unit.nals, offset_s + unit.pts_s, offset_s + unit.dts_s
            offset_s += self._server.clip.duration_s

    def _send_picture(self, nals: tuple[bytes, ...], pts_s: float) -> None:
        payloads = [payload for nal in nals for payload in _payloads(nal)]
        ticks = (_FIRST_TICKS + round(pts_s * _RTP_CLOCK_HZ)) & 0xFFFFFFFF
        for payload in payloads:
            marker = 0x80 if payload is payloads[-1] else 0
            self._sequence = (self._sequence + 1) & 0xFFFF
            head = struct.pack(
                ">BBHII", 0x80, marker | _PAYLOAD_TYPE, self._sequence, ticks, 0x5EED
            )
            self._send(struct.pack(">cBH", b"$", 0, len(head) + len(payload)) + head + payload)

    def _send(self, octets: bytes) -> None:
        with self._sending:
            self._socket.sendall(octets)


def _payloads(nal: bytes) -> list[bytes]:
    """The NAL unit as it is, or cut into FU-A fragments (RFC 6184, section 5.8)."""
    if len(nal) <= _MTU:
        return [nal]
    indicator = (nal[0] & 0xE0) | _FU_A
    parts = [nal[i : i + _MTU - 2] for i in range(1, len(nal), _MTU - 2)]
    flags = [0x80] + [0] * (len(parts) - 2) + [0x40]  # start ... end
    return [
        bytes([indicator, flag | (nal[0] & 0x1F)]) + part
        for flag, part in zip(flags, parts, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a video file as an RTSP camera.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    server = RtspServer(options.file, options.port, user=options.user, password=options.password)
    with server:
        print(server.url, flush=True)  # noqa: T201 - a program's output
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
