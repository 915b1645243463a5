"""Does docs/http.md say what works?"""

from __future__ import annotations

import json
import re
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from daemon.config import load_config
from daemon.front import Front
from daemon.http_api import http_app
from daemon.http_server import HttpServer
from daemon.http_tls import Certificate
from daemon.mqtt.payloads import event_content
from pipelines.clock import SystemClock
from pipelines.types import Outcome
from tests.daemon.events import MATCH
from tests.daemon.test_http import Site, hello, serving, site

TEXT = (Path(__file__).parents[1] / "docs" / "http.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = [json.loads(block) for kind, block in BLOCKS if kind == "json"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("docs"), None) as found:
        yield found


def test_its_configuration_loads(tmp_path: Path) -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    path = tmp_path / "c.yaml"
    path.write_text(f"cameras: {{porch: {{source: 'scene://porch'}}}}\n{block}")
    config = load_config(path, {"HTTP_TOKEN": "0123456789abcdef"})
    assert config.http is not None
    assert config.http.base_url == "https://10.0.0.4:8642"
    assert config.http.cert_file is not None


def test_it_names_each_path_with_its_method_and_no_other() -> None:
    services = Front(None, SystemClock())._services
    routes = {
        f"{'POST' if 'POST' in (route.methods or ()) else 'GET'} {route.path}"
        for route in http_app(services).routes
        if isinstance(route, Route)
    }
    told = set(re.findall(r"^\| `((?:GET|POST) /\S+)` \|", TEXT, re.MULTILINE))
    assert {path.replace("NAME", "{name}") for path in told} == routes


def test_its_search_is_taken_and_its_answer_is_like_the_example(running: Site) -> None:
    store = running.app.store
    assert store is not None
    store.record(Outcome("porch", None, {}, (MATCH,), None), [event_content(MATCH, 1.0)])
    (search,) = re.findall(r"`GET (/api/events\?\S+)`", TEXT)
    assert running.call(search.replace("porch", "yard")).status == 200
    told = running.call("/api/events").told
    [example] = [one for one in EXAMPLES if "events" in one]
    assert set(told) == set(example)
    assert set(example["events"][0]) <= set(told["events"][0])
    named = set(re.findall(r"`(\w+)`", TEXT[TEXT.index("### Events") : TEXT.index("### Quest")]))
    for key in ("camera", "rule", "severity", "search", "since", "until", "limit"):
        assert key in named
        assert running.call(f"/api/events?{key}=").status in (200, 400)


def test_the_certificate_that_it_makes_is_taken(tmp_path: Path) -> None:
    [block] = [
        block.replace("\\\n", " ") for kind, block in BLOCKS if "openssl" in block and not kind
    ]
    make, place, place_key, ask = block.splitlines()
    subprocess.run(shlex.split(make), cwd=tmp_path, check=True, capture_output=True)
    pem = place.split()[-2], place_key.split()[-2]
    certificate = Certificate(tmp_path / pem[0], tmp_path / pem[1])
    server = HttpServer("127.0.0.1:0", hello, SystemClock(), certificate)
    trusting = ssl.create_default_context(cafile=tmp_path / pem[0])
    with serving(server) as port, socket.create_connection(("127.0.0.1", port), 60) as link:
        name = re.search(r"https://([\d.]+):", ask)
        assert name
        with trusting.wrap_socket(link, server_hostname=name[1]) as safe:
            safe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert safe.recv(100).startswith(b"HTTP/1.1 200")


def test_its_question_is_answered_like_the_example(running: Site) -> None:
    [command] = [
        block.replace("\\\n", " ") for kind, block in BLOCKS if "/api/ask" in block and not kind
    ]
    words = shlex.split(command)
    body: dict[str, Any] = json.loads(words[words.index("-d") + 1])
    assert words[2].endswith("/api/ask")
    told = running.call("/api/ask", "POST", {**body, "camera": "yard"})
    assert told.status == 200
    [example] = [one for one in EXAMPLES if "p_yes" in one]
    assert set(example) <= set(told.told)


def test_its_error_is_like_the_example(running: Site) -> None:
    answer = running.call("/api/describe", "POST", {"camera": "yrd"})
    assert re.search(r'{"error": "there is no camera \'\w+\'\. Did you mean \w+\?', TEXT)
    assert answer.told["error"].startswith("there is no camera 'yrd'. Did you mean yard?")
