"""What stands in for the Hugging Face hub?

Knows its HTTP as far as its client uses it: a commit's files with sizes and checksums, small files
at once, large ones by a redirect to another place that takes ranges. It can break off, lie, refuse.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOLD_S = 120.0  # the longest that it holds something back


class Hub:
    """One repository at one commit, with the files of `folder`."""

    def __init__(self, folder: Path, hub_id: str, revision: str) -> None:
        self.hub_id, self.revision = hub_id, revision
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, range
        self.break_after: int | None = None  # bytes of each large file, and then the line is cut
        self.claimed: dict[str, int] = {}  # sizes that are told instead of the true ones
        self.wrong: set[str] = set()  # files that arrive with other bytes
        self.status: int | None = None  # instead of everything
        self.hold_after: int | None = None  # bytes of each large file, and the rest on `go_on`
        self.go_on = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def sent(self, path: str) -> list[str | None]:
        """The ranges that were asked for of what ends with `path`."""
        return [asked for method, where, asked in self.requests if where.endswith(path)]

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = to.path.partition("?")[0]
        self.requests.append((to.command, path, to.headers.get("Range")))
        resolve = f"/{self.hub_id}/resolve/{self.revision}/"
        if self.status is not None:
            self._send(to, self.status, b"{}", {})
        elif path == f"/api/models/{self.hub_id}/revision/{self.revision}":
            self._send(to, 200, json.dumps(self._info()).encode(), {})
        elif path.startswith(resolve) and path.removeprefix(resolve) in self.files:
            self._resolve(to, path.removeprefix(resolve))
        elif path.startswith("/cdn/") and path.removeprefix("/cdn/") in self.files:
            self._large(to, path.removeprefix("/cdn/"))
        else:
            self._send(to, 404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _info(self) -> dict[str, Any]:
        return {
            "id": self.hub_id,
            "sha": self.revision,
            "siblings": [self._sibling(name, content) for name, content in self.files.items()],
        }

    def _sibling(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.claimed.get(name, len(content))
        told: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _git(content)}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
        return told

    def _resolve(self, to: BaseHTTPRequestHandler, name: str) -> None:
        content = self.files[name]
        headers = {"X-Repo-Commit": self.revision, "ETag": f'"{_git(content)}"'}
        if name.endswith(".safetensors"):
            headers["Location"] = f"{self.url}/cdn/{name}"
            self._send(to, 302, b"", headers)
        else:
            self._send(to, 200, self._content(name), headers)

    def _large(self, to: BaseHTTPRequestHandler, name: str) -> None:
        content, status, headers = self._content(name), 200, {}
        asked = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range") or "")
        if asked:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        self._send(to, status, content, headers, self.break_after)

    def _content(self, name: str) -> bytes:
        content = self.files[name]
        return b"?" + content[1:] if name in self.wrong else content

    def _send(
        self,
        to: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        most: int | None = None,
    ) -> None:
        to.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            to.send_header(key, value)
        to.end_headers()
        if to.command == "GET":
            self._write(to, body[:most])
        if most is not None and most < len(body):
            self.status = 503  # and nobody answers any more
            to.close_connection = True

    def _write(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        first = len(body) if self.hold_after is None else self.hold_after
        to.wfile.write(body[:first])
        if len(body) > first:
            to.wfile.flush()
            self.go_on.wait(HOLD_S)
            to.wfile.write(body[first:])


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Answers for the length of a `with` block."""
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
