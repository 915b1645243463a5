"""Are logs readable by machines and people, and free of secrets?"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.logs import setup
from daemon.redact import MASK, Redactor, mask_urls


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


SECRET = 'hun"ter\\2'
URL = "rtsp://bob:pw123@h/s"


def fail(message: str) -> None:
    raise OSError(message)


def log_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://bob:hunter2@10.0.0.5/s", "rtsp://***@10.0.0.5/s"),
        (
            "cannot open 'rtsp://bob:p@ss/w@cam/s': refused",
            "cannot open 'rtsp://***@cam/s': refused",
        ),
        ("http://cam/snap?user=bob&pwd=hunter2&n=1", "http://cam/snap?user=bob&pwd=***&n=1"),
        ("https://h/?api_key=hunter2", "https://h/?api_key=***"),
        ("mqtt://token@h a@b", "mqtt://***@h a@b"),
        ("mail bob@example.org about http://h/", "mail bob@example.org about http://h/"),
    ],
)
def test_credentials_in_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_urls(text) == masked


def test_known_secrets_are_masked_at_every_depth_and_in_quoted_form() -> None:
    redactor = Redactor(["p@ss/wörd", "p@ss", "ab", ""])
    assert redactor.value(
        {"a": ["p@ss/wörd", {"p@ss": b"x p@ss"}], "n": 1, "path": Path("/p@ss"), "none": None}
    ) == {"a": ["***", {"***": "x ***"}], "n": 1, "path": "/***", "none": None}
    assert redactor.text("p%40ss%2Fw%C3%B6rd ab") == "*** ab"


@settings(deadline=None)
@given(st.text("hunter2:@/ é\"'\\", min_size=3), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_never_survives(secret: str, before: str, after: str) -> None:
    masked = Redactor([secret]).text(before + secret + after)
    assert secret not in masked.replace(MASK, "\0")


def test_json_lines_hold_no_secret_wherever_it_stands() -> None:
    stream = io.StringIO()
    setup(secrets=[SECRET], stream=stream)
    log = structlog.get_logger("daemon.test")
    log.info("camera.opened", url=URL, password=SECRET)
    try:
        fail(f"login {SECRET} failed at {URL}")
    except OSError as error:
        log.exception("camera.failed", error=error, quoted=repr(SECRET))
    logging.getLogger("av").warning("opening %s", URL)
    text = stream.getvalue()
    assert "pw123" not in text
    assert "hun" not in text
    first, second, third = log_of(stream)
    assert first["event"] == "camera.opened"
    assert first["level"] == "info"
    assert first["logger"] == "daemon.test"
    assert first["timestamp"].endswith("Z")
    assert first["url"] == "rtsp://***@h/s"
    assert "Traceback" in second["exception"]
    assert second["error"] == "login *** failed at rtsp://***@h/s"
    assert third["event"] == "opening rtsp://***@h/s"


def test_a_terminal_gets_readable_lines_without_local_variables() -> None:
    stream = Terminal()
    setup(secrets=["hunter2"], stream=stream)
    try:
        fail("not hunter2")
    except OSError:
        structlog.get_logger().exception("it.broke", camera="porch")
    text = stream.getvalue()
    assert "it.broke" in text
    assert "porch" in text
    assert "Traceback" in text
    assert "OSError: not ***" in text
    assert not text.startswith("{")


@pytest.mark.parametrize(
    ("level", "said"), [("info", ["info", "warning"]), ("warning", ["warning"])]
)
def test_the_level_is_kept(level: str, said: list[str]) -> None:
    stream = io.StringIO()
    setup(level=level, stream=stream)
    log = structlog.get_logger()
    log.debug("debug")
    log.info("info")
    log.warning("warning")
    assert [entry["event"] for entry in log_of(stream)] == said


def test_other_libraries_only_warn() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    logging.getLogger("httpx").info("no")
    logging.getLogger("httpx").warning("yes")
    assert [entry["event"] for entry in log_of(stream)] == ["yes"]


def test_it_can_be_set_up_again_when_the_secrets_are_known() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    setup(secrets=["hunter2"], stream=stream)
    structlog.get_logger().info("once", value="hunter2")
    assert [entry["value"] for entry in log_of(stream)] == ["***"]
