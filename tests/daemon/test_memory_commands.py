"""Does somebody who asks why, or what happened, get the answer?"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.control import ControlError, ControlServer, ask, client_path, server_path
from daemon.moments import UnknownMoment, moment
from daemon.mqtt.payloads import event_content
from daemon.questions import answers
from daemon.store import Limits, Store
from daemon.store_events import EventFilter, events
from daemon.store_queries import why
from pipelines.types import Event, Outcome
from tests.daemon.events import DESCRIBE, match
from tests.daemon.test_store import look
from tests.fakes import FakeClock
from tests.sockets import listens

NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), FakeClock(wall_time=NOW))
    yield opened
    opened.close()


def put(store: Store, at: float, *told: Event, words: str | None = None, why: str = "on") -> None:
    outcome = Outcome("porch", look(at, words), {"dog": why, "cat": "on"}, told, None)
    assert store.record(outcome, [event_content(event, 1.0) for event in told])


@contextmanager
def serving(store: Store | None, path: Path) -> Iterator[Path]:
    server = ControlServer(path, answers(store, {"porch": ["dog", "cat"], "attic": []}))
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 10
    while not listens(path) and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield path
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not path.exists()


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


# Queries


def test_why_gives_the_windows_that_span_the_moment(store: Store) -> None:
    for n in range(10):
        put(store, NOW + 2 * n, why=f"reason {n}")
    put(store, NOW + 4, words="A dog runs past.")
    told = why(store.path, "porch", NOW + 4.5)
    assert [window["ended"] for window in told["windows"]] == [NOW + 6, NOW + 8, NOW + 10]
    assert told["windows"][0]["answers"] == {"Is there a dog?": 0.1235}
    assert told["windows"][0]["rules"]["dog"] == "reason 3"
    assert (told["before"], told["after"], told["spans"]) == (None, None, [])
    other = why(store.path, "attic", NOW + 4.5)
    assert (other["windows"], other["before"], other["after"]) == ([], None, None)


def test_why_says_when_nobody_looked_and_what_is_nearest(store: Store) -> None:
    put(store, NOW)
    put(store, NOW + 200)
    span = store.span("porch", "away", "no route to host", NOW + 1, NOW + 1)
    assert span is not None
    store.lengthen(span, NOW + 190, 0)
    told = why(store.path, "porch", NOW + 100)
    assert [(s["cause"], s["started"], s["ended"]) for s in told["spans"]] == [
        ("away", NOW + 1, NOW + 190)
    ]
    assert told["before"]["ended"] == NOW
    assert told["after"]["ended"] == NOW + 200
    assert why(store.path, "porch", NOW + 195)["spans"] == []


def test_why_tells_the_incidents_that_were_open(store: Store) -> None:
    put(store, NOW, match(1, wall_time=NOW, incident_id="A"))
    put(store, NOW + 9, match(2, wall_time=NOW + 9, incident_id="A", event_type="rule_clear"))
    put(store, NOW + 9, match(3, wall_time=NOW + 9, incident_id="B"))
    assert [i["incident_id"] for i in why(store.path, "porch", NOW + 5)["incidents"]] == ["A"]
    assert [i["incident_id"] for i in why(store.path, "porch", NOW + 90)["incidents"]] == ["B"]


def numbers(store: Store, **wanted: Any) -> list[int]:
    return [number for number, _ in events(store.path, EventFilter(**wanted))]


def test_events_are_the_newest_that_are_wanted_oldest_first(store: Store) -> None:
    for n in range(1, 6):
        rule, camera = ("dog", "porch") if n % 2 else ("cat", "attic")
        put(store, NOW, match(n, rule=rule, camera=camera, wall_time=NOW + n, incident_id=str(n)))
    assert numbers(store) == [1, 2, 3, 4, 5]
    assert numbers(store, limit=2) == [4, 5]
    assert numbers(store, rule="dog") == [1, 3, 5]
    assert numbers(store, camera="attic") == [2, 4]
    assert numbers(store, since=NOW + 4) == [4, 5]
    assert numbers(store, after=3) == [4, 5]


def test_search_finds_words_and_takes_none_for_an_operator(store: Store) -> None:
    put(store, NOW, DESCRIBE, words="Two dogs run past the gate.")
    put(store, NOW + 2, match(2, text="A cat sits."), words="A cat sits.")
    put(store, NOW + 4, match(3, incident_id="x"), words="A dog, but no event tells of it.")
    assert numbers(store, search="dog") == [1]
    assert numbers(store, search="gate run") == [1]
    assert numbers(store, search="cat OR dog") == []
    assert numbers(store, search='"(cat*') == [2]
    assert numbers(store, search="dog", camera="attic") == []


# The socket


def test_only_owner_and_group_may_ask(store: Store, tmp_path: Path) -> None:
    with serving(store, tmp_path / "run" / "c.sock") as path:
        assert path.stat().st_mode & 0o777 == 0o660
        assert list(ask(path, {"op": "events"})) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_refusal_names_the_group(store: Store) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        with serving(store, folder / "c.sock") as path:
            os.chown(path, 0, 4)  # adm, in every Debian
            code = (
                "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                "from pathlib import Path; from daemon.control import ControlError, ask\n"
                "try: list(ask(Path(sys.argv[1]), {'op': 'events'}))\n"
                "except ControlError as error: print(error)\n"
            )
            early = "import daemon.control, grp, structlog\n" + code
            said = subprocess.run(
                [sys.executable, "-c", early, str(path)], capture_output=True, text=True, check=True
            ).stdout
    finally:
        shutil.rmtree(folder)
    assert "only members of group adm may talk to the daemon: sudo usermod -aG adm" in said


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"op": "why", "camera": "proch", "at": NOW}, "no camera 'proch'. Did you mean porch?"),
        ({"op": "why", "camera": "porch", "rule": "dug", "at": NOW}, "Did you mean dog?"),
        ({"op": "why", "camera": "attic", "rule": "x", "at": NOW}, "There are: none"),
        ({"op": "why", "camera": "porch"}, "not understood (KeyError('at'))"),
        ({"op": "why", "camera": "porch", "at": "noon"}, "not understood"),
        ({"op": "dance"}, "answers why, events"),
        ({"op": "events", "search": "x" * 70_000}, "longer than 64 KiB"),
    ],
)
def test_what_cannot_be_answered_is_said(
    store: Store, tmp_path: Path, request_: dict[str, Any], said: str
) -> None:
    with serving(store, tmp_path / "c.sock") as path:
        with pytest.raises(ControlError) as caught:
            list(ask(path, request_))
        assert said in str(caught.value)
        assert list(ask(path, {"op": "events"})) == []  # and it goes on


def test_without_a_store_it_says_how_to_have_one(tmp_path: Path) -> None:
    with (
        serving(None, tmp_path / "c.sock") as path,
        pytest.raises(ControlError, match=r"store\.path"),
    ):
        list(ask(path, {"op": "events"}))


def test_who_says_nothing_holds_nobody_up(store: Store, tmp_path: Path) -> None:
    with serving(store, tmp_path / "c.sock") as path:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in silent:
            one.connect(str(path))
        gone = socket.socket(socket.AF_UNIX)
        gone.connect(str(path))
        gone.send(b'{"op": "events"}\n')
        gone.close()
        assert list(ask(path, {"op": "events"})) == []
        for one in silent:
            one.close()


def test_a_socket_left_behind_is_taken_over_and_a_live_one_is_not(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(ControlError, match="is it running"):
        list(ask(path, {"op": "events"}))
    server = ControlServer(path, {})
    with server._listening(), pytest.raises(ControlError, match="another smolwatch"):
        ControlServer(path, {}).run(threading.Event())
    with pytest.raises(ControlError, match=r"control\.path"):
        ControlServer(tmp_path / ("x" * 200), {}).run(threading.Event())


def test_where_the_socket_is(tmp_path: Path) -> None:
    named = tmp_path / "named"
    own = tmp_path / "control.sock"
    assert server_path(None, {}) is None
    assert server_path(named, {"RUNTIME_DIRECTORY": str(tmp_path)}) == named
    assert server_path(None, {"RUNTIME_DIRECTORY": str(tmp_path)}) == own
    assert server_path(None, {"XDG_RUNTIME_DIR": "/r"}) == Path("/r/smolwatch/control.sock")
    assert client_path(named, {}) == named
    system = Path("/run/smolwatch/control.sock")
    assert client_path(None, {"RUNTIME_DIRECTORY": str(tmp_path)}) == system
    own.touch()
    assert client_path(None, {"RUNTIME_DIRECTORY": str(tmp_path)}) == own


# The commands


def test_why_as_a_person_reads_it(store: Store, tmp_path: Path) -> None:
    put(store, NOW, why="below open_above: 0.7")
    put(store, NOW, words="A dog runs past.", why="below open_above: 0.7")
    at = datetime.fromtimestamp(NOW, UTC).isoformat()
    with serving(store, tmp_path / "c.sock") as path:
        code, said = command("why", "porch", "--at", at, "--rule", "dog", "--socket", str(path))
        assert code == 0
        assert "Is there a dog?  p_yes 0.12" in said
        assert "dog: below open_above: 0.7" in said
        assert "described: A dog runs past." in said
        assert "cat" not in said
        raw = command("why", "porch", "--at", at, "--json", "--socket", str(path))[1]
        assert json.loads(raw)["windows"][0]["rules"]["cat"] == "on"
        code, said = command("why", "porch", "--at", "noon", "--socket", str(path))
        assert (code, "'noon' is no time" in said) == (1, True)


def test_why_says_that_the_camera_was_blind(store: Store, tmp_path: Path) -> None:
    span = store.span("porch", "away", "no route to host", NOW, NOW)
    assert span is not None
    store.lengthen(span, NOW + 60, 0)
    at = datetime.fromtimestamp(NOW + 30, UTC).isoformat()
    never = datetime.fromtimestamp(NOW + 300, UTC).isoformat()
    with serving(store, tmp_path / "c.sock") as path:
        said = command("why", "porch", "--at", at, "--socket", str(path))[1]
        assert re.search(r"porch was blind from .* to .*: away: no route to host", said)
        said = command("why", "porch", "--at", never, "--socket", str(path))[1]
        assert "no window of that time is stored" in said


def test_events_as_lines_json_and_csv(store: Store, tmp_path: Path) -> None:
    put(store, NOW, match(1, wall_time=NOW))
    put(store, NOW, match(2, wall_time=NOW, incident_id="x", text="=cmd()"), words="=cmd()")
    with serving(store, tmp_path / "c.sock") as path:
        where = ("--socket", str(path))
        lines = command("events", *where)[1].splitlines()
        assert len(lines) == 2
        assert (
            "porch  rule_match  package_delivered p_yes 0.83  package_delivered opened" in lines[0]
        )
        objects = [json.loads(line) for line in command("events", "--json", *where)[1].splitlines()]
        assert objects[0]["event_id"] == match(1).event_id
        rows = list(csv.DictReader(command("events", "--csv", *where)[1].splitlines()))
        assert [row["summary"] for row in rows][1] == "'=cmd()"
        assert rows[0]["score"] == "0.8313"
        assert len(command("events", "--search", "cmd", *where)[1].splitlines()) == 1


def test_follow_tells_what_comes(store: Store, tmp_path: Path) -> None:
    put(store, NOW, match(1))
    with serving(store, tmp_path / "c.sock") as path:
        arguments = ("events", "--follow", "--json", "--socket", str(path))
        code = f"from daemon.cli import app; app({list(arguments)!r})"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            assert json.loads(follower.stdout.readline())["event_id"] == match(1).event_id
            put(store, NOW, match(2, incident_id="x"))
            assert json.loads(follower.stdout.readline())["event_id"] == match(2).event_id
            follower.terminate()


def test_follow_goes_on_over_a_restart_and_a_new_store(store: Store, tmp_path: Path) -> None:
    for n in range(1, 4):
        put(store, NOW, match(n, incident_id=str(n)))
    socket_ = tmp_path / "c.sock"
    arguments = ("events", "--follow", "--json", "--socket", str(socket_))
    code = f"from daemon.cli import app; app({list(arguments)!r})"
    with serving(store, socket_):
        follower = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert follower.stdout is not None
        assert follower.stderr is not None
        for n in range(1, 4):
            assert json.loads(follower.stdout.readline())["event_id"] == match(n).event_id
    with follower:
        assert b"waiting for it" in follower.stderr.readline()
        with serving(store, socket_):
            put(store, NOW, match(4, incident_id="4"))
            assert json.loads(follower.stdout.readline())["event_id"] == match(4).event_id
        new = Store(tmp_path / "new.db", Limits(), FakeClock(wall_time=NOW))
        put(new, NOW, match(5, incident_id="5"))  # number 1 of a store that was begun anew
        with serving(new, socket_):
            assert json.loads(follower.stdout.readline())["event_id"] == match(5).event_id
            follower.terminate()
        new.close()


def opened(store: Store, number: int, rule: str, severity: str, lasts_s: float | None) -> None:
    at = NOW + 100 * number
    events = [
        match(2 * number, rule=rule, severity=severity, wall_time=at, incident_id=str(number))
    ]
    if lasts_s is not None:
        events.append(
            match(2 * number + 1, rule=rule, severity=severity, wall_time=at + lasts_s,
                  incident_id=str(number), event_type="rule_clear")
        )  # fmt: skip
    put(store, at, *events)


def test_incidents_with_how_long_they_lasted(store: Store, tmp_path: Path) -> None:
    opened(store, 1, "dog", "info", 42.0)
    opened(store, 2, "cat", "warning", 3 * 3600 + 300)
    opened(store, 3, "dog", "alert", None)
    with serving(store, tmp_path / "c.sock") as path:
        where = ("--socket", str(path))
        lines = command("events", "--incidents", *where)[1].splitlines()
        assert [line.split("  ", 1)[1] for line in lines] == [
            "porch  info  dog p_yes 0.83  lasted 42 s",
            "porch  warning  cat p_yes 0.83  lasted 3 h 5 min",
            "porch  alert  dog p_yes 0.83  still open",
        ]
        rows = list(
            csv.DictReader(command("events", "--incidents", "--csv", *where)[1].splitlines())
        )
        assert [row["duration_s"] for row in rows] == ["42.0", "11100.0", ""]
        assert rows[0]["opened"] == "2023-11-14T22:15:00.000Z"
        dogs = command("events", "--incidents", "--json", "--rule", "dog", *where)[1].splitlines()
        told = [json.loads(line) for line in dogs]
        assert [one["closed"] for one in told] == ["2023-11-14T22:15:42.000Z", None]
        # Of a time: what was open in it.
        at = datetime.fromtimestamp(NOW + 250, UTC).isoformat()
        lines = command("events", "--incidents", "--since", at, *where)[1].splitlines()
        assert [("cat" in line, "dog" in line) for line in lines] == [(True, False), (False, True)]
        lines = command("events", "--incidents", "--until", at, *where)[1].splitlines()
        assert len(lines) == 2


def test_severity_is_this_or_worse_and_until_is_an_end(store: Store) -> None:
    for number, severity in enumerate(("info", "warning", "alert"), start=1):
        opened(store, number, "dog", severity, None)
    assert numbers(store, severity="warning") == [2, 3]
    assert numbers(store, severity="alert") == [3]
    assert numbers(store, until=NOW + 300) == [1, 2]
    assert numbers(store, since=NOW + 200, until=NOW + 300) == [2]
    assert numbers(store, search="dog", severity="info", until=NOW + 300) == []


@pytest.mark.parametrize(
    "search", ['"', "dog AND", "NEAR(dog", "^dog", "text:dog", "d\0og", "*", "-dog"]
)
def test_no_search_is_a_syntax_error(store: Store, tmp_path: Path, search: str) -> None:
    put(store, NOW, DESCRIBE, words="Two dogs run past the gate.")
    with serving(store, tmp_path / "c.sock") as path:
        code, said = command("events", "--search", search, "--socket", str(path))
    if any(map(str.isalnum, search)):
        assert code == 0
    else:
        assert (code, "there is no word in" in said) == (1, True)
    assert "Traceback" not in said
    assert "fts5" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--json", "--csv"], "choose one"),
        (["--follow", "--incidents"], "leave --incidents, --until out"),
        (["--severity", "bad"], "There are: info, warning, alert"),
        (["--incidents", "--search", "dog"], "not in incidents"),
        (["--camera", "proch"], "Did you mean porch?"),
        (["--rule", "dug"], "Did you mean dog?"),
        (["--search", " "], "there is no word"),
        (["--since", "noon"], "no time"),
    ],
)
def test_mistakes_are_told(store: Store, tmp_path: Path, arguments: list[str], says: str) -> None:
    with serving(store, tmp_path / "c.sock") as path:
        code, said = command("events", *arguments, "--socket", str(path))
    assert (code, says in said) == (1, True), said


def test_a_wrong_configuration_has_the_exit_code_that_it_has_everywhere(tmp_path: Path) -> None:
    config = tmp_path / "smolwatch.yaml"
    config.write_text("cameras: {porch: {source: 'scene://porch', nonsense: 1}}\n")
    told = CliRunner().invoke(app, ["events", "-c", str(config)])
    assert told.exit_code == 78
    assert "nonsense" in told.stderr


def test_it_is_said_when_there_is_more_or_nothing(store: Store, tmp_path: Path) -> None:
    with serving(store, tmp_path / "c.sock") as path:
        assert command("events", "--socket", str(path)) == (0, "(there are none)\n")
        for n in range(1, 5):
            put(store, NOW, match(n, incident_id=str(n)))
        assert "more with --limit" not in command("events", "--socket", str(path))[1]
        said = command("events", "--limit", "3", "--socket", str(path))[1]
        assert said.splitlines()[-1] == "(the newest 3; more with --limit)"


# Moments

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:02", "2026-11-22T14:02:00+01:00"),
        ("14:02:30", "2026-11-22T14:02:30+01:00"),
        ("18:00", "2026-11-21T18:00:00+01:00"),  # it is not yet 18:00
        ("2026-07-01 08:00", "2026-07-01T08:00:00+02:00"),
        ("2026-07-01T08:00Z", "2026-07-01T08:00:00+00:00"),
        ("24h", "2026-11-21T16:00:00+01:00"),
        ("5m ago", "2026-11-22T15:55:00+01:00"),
        ("now", "2026-11-22T16:00:00+01:00"),
    ],
)
def test_a_moment_as_people_write_it(text: str, expected: str) -> None:
    now = datetime(2026, 11, 22, 16, 0, tzinfo=BERLIN).timestamp()
    assert moment(text, now, BERLIN) == datetime.fromisoformat(expected).timestamp()


@pytest.mark.parametrize("text", ["", "noon", "25:00", "2026-13-01", "7y"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UnknownMoment, match="expected 14:02"):
        moment(text, NOW)
