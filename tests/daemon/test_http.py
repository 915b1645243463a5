"""Is what smolwatch tells over HTTP right, and told to nobody else?"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.typing import EventDict

from daemon.app import App, build_app
from daemon.config import ConfigError, load_config
from daemon.config_http import HttpConfig
from daemon.front import Front
from daemon.http_server import HttpServer
from daemon.media_links import MediaLinks
from daemon.mqtt.payloads import event_content
from daemon.mqtt.topics import Topics
from daemon.pulse import MAIN_BOUND_S, Pulse
from daemon.sink import EventSink
from daemon.store import Limits, Store
from daemon.systemd import Heartbeat
from pipelines.clock import SystemClock
from pipelines.types import Event, Outcome
from tests.daemon.events import MATCH
from tests.daemon.test_app import run
from tests.fakes import FakeClock, FakeModel
from tests.mosquitto import wait_until

TOKEN = "a-token-of-23-characters"
CONFIG = """
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {num_frames: 4, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: off
  off: {source: "scene://porch", enabled: false}
rules:
  person: {cameras: [yard], ask: "Is there a person?", debounce: {needed: 1, of: 1}}
store: {path: s.db}
media: {dir: media}
http: {listen: "127.0.0.1:0"%s}
"""
CLIP = "yard-01M82BJ7QSDM50RNV3A87NQ9SY.mp4"


def event_of(name: str, **more: Any) -> Event:
    return replace(
        MATCH, event_id=name, incident_id=f"I-{name}", camera="yard", rule="person", **more
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running daemon, and how it is called."""

    app: App
    port: int
    token: str | None
    folder: Path

    def call(self, path: str, method: str = "GET", body: object = None, **headers: str) -> Answer:
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as link:
            link.request(method, path, raw if body is not None else None, sent)
            answer = link.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())


@contextmanager
def site(folder: Path, token: str | None) -> Iterator[Site]:
    path = folder / "smolwatch.yaml"
    said = CONFIG % (f', token: "{token}"' if token else "")
    said = said.replace("s.db", str(folder / "s.db")).replace("dir: media", f"dir: {folder}/media")
    path.write_text(said)
    config = load_config(path, os.environ)
    clock = SystemClock()
    store = Store(folder / "s.db", Limits(), clock)
    model = FakeModel({"Is there a person?": 0.2, "Is it day?": 0.9})
    app = build_app(config, model, None, clock, store, http=config.http)
    front = app.front.http
    assert front is not None
    thread, codes = run(app)
    try:
        wait_until(lambda: front.port is not None, "listening")
        wait_until(lambda: app.inference.windows_run > 2, "windows")
        assert front.port is not None
        yield Site(app, front.port, token, folder)
    finally:
        app.workers.ended.set()
        thread.join(30)
    assert codes == [0]
    assert not app.workers.join(0, "http")  # the stop waited for it


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("opened"), None) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("guarded"), TOKEN) as running:
        media = running.folder / "media"
        media.mkdir()
        (media / CLIP).write_bytes(bytes(range(256)))
        yield running


# Health.


def test_health_and_readiness(opened: Site) -> None:
    wait_until(lambda: opened.call("/healthz").told == {"status": "ok", "late": []}, "health")
    ready = opened.call("/readyz")
    assert (ready.status, ready.told) == (200, {"ready": True, "reasons": []})  # `off` is off
    opened.app.captures["yard"].enable(enabled=False)
    wait_until(lambda: opened.app.captures["yard"].health().state == "disabled", "disabled")
    assert opened.call("/readyz").status == 200
    opened.app.captures["yard"].enable(enabled=True)
    wait_until(lambda: opened.app.captures["yard"].health().state == "online", "online")


def test_details_of_health_are_for_those_with_the_token(guarded: Site) -> None:
    for path, told in (("/healthz", {"status": "ok"}), ("/readyz", {"ready": True})):
        answer = guarded.call(path, Authorization="")
        assert (answer.status, answer.told) == (200, told)


def test_a_part_that_is_stuck_is_named_and_so_is_the_main_thread() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    pulse.note([Heartbeat("inference", clock.monotonic_s(), 5.0)])
    assert pulse.late() == ()
    clock.advance(6.0)
    assert pulse.late() == ("inference",)
    clock.advance(MAIN_BOUND_S)
    assert pulse.late() == ("main", "inference")


def test_a_daemon_that_starts_is_not_ready(tmp_path: Path) -> None:
    front = Front(HttpConfig(listen="127.0.0.1:0"), SystemClock())
    with serving(front.http) as port:
        bare = Site(None, port, None, tmp_path)  # type: ignore[arg-type]
        answer = bare.call("/readyz")
        assert answer.status == 503
        assert "starting" in answer.told["error"]
        front.pulse.note([Heartbeat("capture yard", 0.0, 5.0)])
        stuck = bare.call("/healthz")
        assert (stuck.status, stuck.told["late"]) == (503, ["capture yard"])


@contextmanager
def serving(server: HttpServer | None) -> Iterator[int]:
    assert server is not None
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: server.port is not None, "listening")
        assert server.port is not None
        yield server.port
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


# Who is let in.


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_without_the_token_nothing_is_told(guarded: Site, authorization: str) -> None:
    for path in ("/metrics", "/api/status", "/api/events", "/nowhere", f"/media/{CLIP}"):
        answer = guarded.call(path, Authorization=authorization)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "http.token" in answer.told["error"]
    assert guarded.call("/metrics").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example"])
def test_other_names_are_refused_as_dns_rebinding_would_use_them(opened: Site, host: str) -> None:
    answer = opened.call("/api/cameras", Host=host)
    assert answer.status == 421
    assert "http.hosts" in answer.told["error"]


@pytest.mark.parametrize(
    "host", ["localhost:8642", "192.168.1.5", "[::1]:8642", socket.gethostname()]
)
def test_our_names_are_taken(opened: Site, host: str) -> None:
    assert opened.call("/api/cameras", Host=host).status == 200


def test_pages_of_other_sites_are_refused(opened: Site) -> None:
    assert opened.call("/api/cameras", Origin="http://evil.example").status == 403
    plain = opened.call("/api/ask", "POST", b"{}", Content_Type="text/plain")
    assert plain.status == 415
    assert "access-control-allow-origin" not in plain.headers


def test_every_answer_has_headers_that_browsers_heed(guarded: Site) -> None:
    for answer in (guarded.call("/healthz"), guarded.call("/x"), guarded.call("/", Host="x.y")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_a_token_is_needed_off_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "smolwatch.yaml"
    for said, problem in (
        ("listen: 0.0.0.0:8642", "http.token: is needed"),
        ("listen: '[::]:8642'", "openssl rand"),
        ("listen: 192.168.1.5", "listen: 127.0.0.1:8642"),
        ("token: short", "16 or more"),
        (f"token: {TOKEN}, token_file: {path}", "keep one"),
        ("listen: '127.0.0.1:70000'", "an address and a port"),
        ("base_url: 10.0.0.4", "http://10.0.0.4:8642"),
        ("hosts: ['a b']", "without scheme and port"),
    ):
        path.write_text(f"cameras: {{a: {{source: 'scene://porch'}}}}\nhttp: {{{said}}}\n")
        with pytest.raises(ConfigError, match="http") as error:
            load_config(path, {})
        assert problem in str(error.value), said
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    path.write_text(
        f"cameras: {{a: {{source: 'scene://porch'}}}}\nhttp: {{listen: ':1', token_file: {secret}}}"
    )
    config = load_config(path, {})
    assert config.http is not None
    assert config.http.plain_token == TOKEN
    assert config.secret_values == (TOKEN,)
    assert TOKEN not in repr(config) + config.model_dump_json()
    path.write_text("cameras: {a: {source: 'scene://porch'}}\nhttp: off")
    assert load_config(path, {}).http is None


# What is told.


def test_cameras_and_status(opened: Site) -> None:
    yard, off = opened.call("/api/cameras").told["cameras"]
    assert (yard["camera"], yard["state"], off["state"]) == ("yard", "online", "disabled")
    assert yard["windows"]["run"] > 2
    assert yard["rules"] == [{"rule": "person", "armed": True, "on_s": None}]
    status = opened.call("/api/status").told
    assert status["ready"] is True
    model = status["model"]
    assert (model["id"], model["state"]) == ("fake@0", "ready")
    assert model["batches"] >= status["cameras"][0]["windows"]["run"] > 0  # one camera: one each
    assert status["broker"] is None
    assert status["store"]["bytes"] > 0
    assert set(status["disks"]) == {"store", "media"}


def test_events_by_pages_and_filters(opened: Site) -> None:
    store = opened.app.store
    assert store is not None
    for number in range(5):
        event = event_of(f"E{number}")
        store.record(Outcome("yard", None, {}, (event,), None), [event_content(event, 1.0)])
    newest = opened.call("/api/events?limit=2").told
    ids = [event["event_id"] for event in newest["events"]]
    assert ids == ["E3", "E4"]
    older = opened.call(f"/api/events?limit=2&before={newest['before']}").told
    assert [event["event_id"] for event in older["events"]] == ["E1", "E2"]
    assert opened.call(f"/api/events?after={newest['after']}").told["events"] == []
    last = opened.call(f"/api/events?limit=9&before={older['before']}").told
    assert ([event["event_id"] for event in last["events"]], last["before"]) == (["E0"], None)
    some = opened.call("/api/events?rule=person&severity=alert&since=2000-01-01&until=now").told
    assert len(some["events"]) == 5
    assert opened.call("/api/events?until=2000-01-01").told["events"] == []
    assert len(opened.call("/api/incidents?camera=yard").told["incidents"]) == 5


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("camara=yard", "Did you mean camera?"),
        ("limit=0", "expected a number from 1 to 10000"),
        ("limit=1e9", "expected a number"),
        ("before=" + "9" * 400, "expected a number"),
        ("since=yesterdayish", "is no time"),
        ("camera=yrad&since=2100-01-01", "Did you mean yard?"),
        ("severity=bad", "There are: info"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(opened: Site, query: str, problem: str) -> None:
    answer = opened.call(f"/api/events?{query}")
    assert answer.status == 400
    assert problem in answer.told["error"]


def test_questions_and_descriptions(opened: Site) -> None:
    asked = opened.call("/api/ask", "POST", {"camera": "yard", "question": "Is it day?"})
    assert asked.status == 200
    assert asked.told["p_yes"] == 0.9
    told = opened.call("/api/describe", "POST", {"camera": "yard", "snapshot": True}).told
    assert told["text"] == "Something happens."
    assert told["question"] is None
    assert told["snapshot"].startswith("/9j/")  # a JPEG, in base64


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("ask", {"camera": "yard"}, 400, "question is missing"),
        ("ask", {"question": "Is it day?"}, 400, "camera is missing"),
        ("ask", {"camera": "yrad", "question": "Is it day?"}, 404, "Did you mean yard?"),
        ("ask", {"camera": "yard", "question": 7}, 400, "question: expected a text"),
        ("ask", {"camera": "yard", "question": " "}, 400, "the question is empty"),
        ("describe", {"camera": "yard", "last_s": True}, 400, "last_s: expected a number"),
        ("describe", {"camera": "yard", "question": "?"}, 400, "unknown 'question'"),
        ("describe", {"camera": "off"}, 503, "it is switched off"),
        ("describe", [], 400, "expected a JSON object"),
        ("describe", b"{", 400, "expected a JSON object"),
        ("describe", b"[" * 60_000, 400, "expected a JSON object"),
        ("describe", b'{"camera":"yard","last_s":NaN}', 400, "expected a JSON object"),
        ("describe", b" " * 70_000, 413, "64 KiB"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(
    opened: Site, path: str, body: object, status: int, problem: str
) -> None:
    answer = opened.call(f"/api/{path}", "POST", body)
    assert (answer.status, problem in answer.told["error"]) == (status, True), answer


def test_what_there_is_not(opened: Site) -> None:
    assert "docs/http.md" in opened.call("/nowhere").told["error"]
    assert opened.call("/api/ask").status == 405


# Pictures and clips.


def test_a_clip_as_a_whole_and_in_parts(guarded: Site) -> None:
    whole = guarded.call(f"/media/{CLIP}")
    assert (whole.status, whole.body) == (200, bytes(range(256)))
    assert whole.headers["content-type"] == "video/mp4"
    assert "immutable" in whole.headers["cache-control"]
    part = guarded.call(f"/media/{CLIP}", Range="bytes=10-19")
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/256"
    assert guarded.call(f"/media/{CLIP}", Range="bytes=300-").status == 416
    known = guarded.call(f"/media/{CLIP}", If_None_Match=whole.headers["etag"])
    assert (known.status, known.body) == (304, b"")
    head = guarded.call(f"/media/{CLIP}", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "256", b"")


def test_a_signed_address_opens_one_file_only(guarded: Site) -> None:
    signed = MediaLinks(None, TOKEN).path(CLIP)
    assert guarded.call(signed, Authorization="").status == 200
    other = signed.replace(CLIP, CLIP.replace("yard", "back"))
    forged = MediaLinks(None, TOKEN[::-1]).path(CLIP)
    elsewhere = signed.replace("/media/", "/api/status?x=")
    for path in (other, forged, elsewhere, f"/media/{CLIP}?sig=", f"/media/{CLIP}?sig=%C3%A9"):
        assert guarded.call(path, Authorization="").status == 401, path


def test_no_other_file_is_told(guarded: Site) -> None:
    media = guarded.folder / "media"
    (media / "secret.txt").write_text("secret")
    (media / f"{CLIP}.part").write_text("half")
    link = CLIP.replace("yard", "link")
    (media / link).symlink_to(guarded.folder / "smolwatch.yaml")
    for name in (
        "secret.txt", f"{CLIP}.part", link, "", ".", "..", "../smolwatch.yaml",
        "..%2Fsmolwatch.yaml", "%2e%2e/smolwatch.yaml", f"x/../{CLIP}", f"{CLIP}%00",
        f"{CLIP}%0a", CLIP.replace("Q", "q"), CLIP.replace("01M8", "01M9"),
    ):  # fmt: skip
        answer = guarded.call(f"/media/{name}")
        assert answer.status == 404, name
        assert b"secret" not in answer.body


def test_events_tell_addresses_that_open(guarded: Site) -> None:
    store, event = guarded.app.store, event_of("M1", media={"clip": CLIP})
    assert store is not None
    store.record(Outcome("yard", None, {}, (event,), None), [event_content(event, 1.0)])
    [told] = guarded.call("/api/events?limit=1").told["events"]
    assert guarded.call(told["media"]["clip"], Authorization="").status == 200


def test_mqtt_tells_addresses_where_base_url_says_them_and_the_store_keeps_names() -> None:
    class Queue:
        def __init__(self) -> None:
            self.payloads: list[dict[str, Any]] = []

        def put_all(self, messages: Any, record: Any = None) -> None:
            self.payloads += [json.loads(message.payload) for message in messages]

    event = event_of("M2", media={"clip": CLIP})
    for links, wanted in (
        (MediaLinks("http://box:8642", None), f"http://box:8642/media/{CLIP}"),
        (MediaLinks(None, TOKEN), CLIP),
    ):
        queue = Queue()
        sink = EventSink(FakeClock(), Topics("smolwatch"), None, queue, None, links)  # type: ignore[arg-type]
        sink.publish(Outcome("yard", None, {}, (event,), None))
        assert queue.payloads[0]["media"] == {"clip": wanted}


# Bounds.


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_who_says_nothing_or_says_it_slowly_is_hung_up_on() -> None:
    with serving(HttpServer("127.0.0.1:0", hello, SystemClock(), head_s=0.5)) as port:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost:"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
                link.sendall(sent)
                assert link.recv(100) == b""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as quick:
            for _ in range(3):  # over one connection
                quick.request("GET", "/")
                assert quick.getresponse().read() == b"hello"


def test_a_head_that_is_too_long_is_refused() -> None:
    with (
        serving(HttpServer("127.0.0.1:0", hello, SystemClock())) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as link,
    ):
        link.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert link.recv(100).startswith(b"HTTP/1.1 400")


def test_too_many_connections_leave_room_for_nobody_but_end_nothing() -> None:
    with serving(HttpServer("127.0.0.1:0", hello, SystemClock())) as port:
        links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(70)]
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as one_more:
                one_more.request("GET", "/")
                assert one_more.getresponse().status == 503
        finally:
            for link in links:
                link.close()

        def answered() -> bool:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
                link.request("GET", "/")
                return link.getresponse().status == 200

        wait_until(answered, "room again")


def test_an_address_that_is_taken_is_told_once_and_tried_again(logs: list[EventDict]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        clock = FakeClock()
        server = HttpServer(f"127.0.0.1:{port}", hello, clock)
        stop = threading.Event()
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        wait_until(lambda: len(clock.waits) > 3, "attempts")
        assert server.port is None
    wait_until(lambda: server.port == port, "listening")
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    told = [line for line in logs if line["event"] == "http.unavailable"]
    assert len(told) == 1
    assert "http.listen" in told[0]["hint"]


Asked = Callable[[Any], Iterator[dict[str, Any]]]


class Endless:
    """A question that the model never answers."""

    def __init__(self) -> None:
        self.given_up = threading.Event()

    def __call__(self, _: Any) -> Iterator[dict[str, Any]]:
        try:
            while not self.given_up.wait(0.05):
                yield {"waiting": "for ever"}
        finally:
            self.given_up.set()


@contextmanager
def unanswered(
    answer: Callable[[Any], Iterator[dict[str, Any]]] | None = None,
) -> Iterator[tuple[int, Endless]]:
    front, endless = Front(HttpConfig(listen="127.0.0.1:0"), SystemClock()), Endless()
    settings = SimpleNamespace(cameras=())
    watched = SimpleNamespace(captures={"yard": None})
    front.show(SimpleNamespace(settings=settings, watched=watched), {"ask": answer or endless})  # type: ignore[arg-type]
    with serving(front.http) as port:
        yield port, endless


def send_question(port: int) -> socket.socket:
    body = b'{"camera":"yard"}'
    link = socket.create_connection(("127.0.0.1", port), timeout=30)
    link.sendall(
        b"POST /api/describe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    return link


def test_who_goes_away_has_the_question_taken_back() -> None:
    with unanswered() as (port, endless):
        send_question(port).close()
        assert endless.given_up.wait(30)


def test_a_stop_does_not_wait_for_answers(caplog: pytest.LogCaptureFixture) -> None:
    with unanswered() as (port, endless):
        link = send_question(port)
        assert not endless.given_up.wait(0.5)
    assert b"smolwatch is stopping" in link.recv(65_536)
    link.close()
    assert "Traceback" not in caplog.text
    assert endless.given_up.wait(30)  # the thread has ended, too: `serving` looks


def test_what_nobody_foresaw_is_logged_and_answered(logs: list[EventDict]) -> None:
    def broken(_: Any) -> Iterator[dict[str, Any]]:
        raise ZeroDivisionError

    with unanswered(broken) as (port, _):
        link = send_question(port)
        assert link.recv(65_536).startswith(b"HTTP/1.1 500")
        link.close()
    [told] = [line for line in logs if line["event"] == "http.failed"]
    assert isinstance(told["exc_info"], ZeroDivisionError)


def test_a_body_that_does_not_come_is_not_waited_for_by_others() -> None:
    with unanswered() as (port, _), socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(
            b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 50\r\n\r\n{"
        )
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
            link.request("GET", "/healthz")
            assert link.getresponse().status == 200
