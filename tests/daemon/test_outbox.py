"""Does the outbox keep order, bounds and what matters, in memory, on disk and across lives?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.mqtt.payloads import Kind, Message, as_replay, event_content, event_messages
from daemon.mqtt.refusals import ends_the_link, refused, too_large
from daemon.mqtt.topics import Topics
from daemon.outbox import Caps, Outbox, Queued
from daemon.sink import EventSink
from daemon.store import Limits, Store
from daemon.store_file import checkpoint, open_reader
from pipelines.types import Outcome
from tests.daemon.events import match
from tests.fakes import FakeClock

BUSY, DENIED, MALFORMED = refused(0x97, "quota"), refused(0x87, "no"), refused(0x90, "name")


class Lives:
    """A store's file, and one daemon after the other that has it."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.path = path
        self.clock = clock
        self._stores: list[Store] = []

    def begin(self, caps: Caps | None = None) -> Outbox:
        """A new life; the one before ended as a crash would end it, with nothing closed."""
        self._stores.append(Store(self.path, Limits(), self.clock))
        return Outbox(self.clock, self.store, caps)

    @property
    def store(self) -> Store:
        return self._stores[-1]

    def fill_disk(self) -> None:
        self.set_pages(1)  # as many as there are

    def free_disk(self) -> None:
        self.set_pages(1_000_000)

    def set_pages(self, pages: int) -> None:
        """SQLite's own limit: it fails as on a full disk, at the first page that is too many."""
        self.store._connection.execute(f"PRAGMA max_page_count = {pages}")

    def end(self) -> None:
        for store in self._stores:
            store._connection.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lives(tmp_path: Path, clock: FakeClock) -> Iterator[Lives]:
    lives = Lives(tmp_path / "s.db", clock)
    yield lives
    lives.end()


@pytest.fixture(params=["memory", "disk"])
def outbox(request: pytest.FixtureRequest, clock: FakeClock, lives: Lives) -> Outbox:
    return Outbox(clock) if request.param == "memory" else lives.begin()


def message(kind: Kind = "alert", topic: str = "t", payload: bytes = b".", **more: Any) -> Message:
    retain = more.pop("retain", kind != "alert")
    return Message(topic, payload, 1, retain, kind, **more)


def event(number: int) -> Message:
    return message(topic="smolwatch/porch/event", payload=json.dumps({"n": number}).encode())


def topics(taken: list[Queued]) -> list[str]:
    return [queued.message.topic for queued in taken]


def waiting(outbox: Outbox) -> list[str]:
    outbox.release()
    found = topics(outbox.take(1000))
    outbox.release()
    return found


def send_all(outbox: Outbox) -> list[Queued]:
    taken = outbox.take(1000)
    outbox.acknowledge([queued.id for queued in taken])
    return taken


def test_what_was_put_comes_out_in_order_and_only_once(outbox: Outbox) -> None:
    for n in range(5):
        outbox.put(message(topic=str(n)))
    assert topics(outbox.take(3)) == ["0", "1", "2"]
    assert topics(outbox.take(3)) == ["3", "4"]
    assert outbox.take(3) == []


def test_all_of_a_message_is_kept(outbox: Outbox) -> None:
    given = Message("a/b", b"\x00\xff", 0, retain=False, kind="description", correlation=b"\x01")
    outbox.put(given)
    assert outbox.take(1)[0].message == given


def test_alerts_go_first_then_states_then_descriptions(outbox: Outbox) -> None:
    kinds: tuple[Kind, ...] = ("description", "state", "alert", "description", "alert")
    for number, kind in enumerate(kinds):
        outbox.put(message(kind, f"{kind}/{number}"))
    expected = ["alert/2", "alert/4", "state/1", "description/0", "description/3"]
    assert waiting(outbox) == expected


def test_a_message_stays_until_it_is_acknowledged(outbox: Outbox) -> None:
    for topic in ("first", "second"):
        outbox.put(message(topic=topic))
    first = outbox.take(2)[0]
    outbox.acknowledge([first.id])
    assert outbox.stats().pending == 1
    assert waiting(outbox) == ["second"]


def test_after_a_lost_link_messages_go_out_again_in_their_old_place(outbox: Outbox) -> None:
    for n in range(4):
        outbox.put(message(topic=str(n)))
    outbox.take(2)
    assert waiting(outbox) == ["0", "1", "2", "3"]


def test_a_newer_state_replaces_the_waiting_one_of_its_topic(outbox: Outbox) -> None:
    for topic, payload in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        outbox.put(message("state", topic, payload))
    assert [queued.message.payload for queued in outbox.take(5)] == [b"2", b"3"]
    assert outbox.stats().pending == 2


def test_a_state_in_flight_is_not_replaced(outbox: Outbox) -> None:
    outbox.put(message("state", "a", b"1"))
    outbox.take(1)
    outbox.put(message("state", "a", b"2"))
    outbox.release()
    assert [queued.message.payload for queued in outbox.take(5)] == [b"1", b"2"]


def test_an_alerts_states_are_all_told(outbox: Outbox) -> None:
    """Whoever waits for the switch to ON must not miss it because it is OFF again."""
    for state in (b"ON", b"OFF", b"ON"):
        outbox.put(message("alert", "rule", state, retain=True))
    assert [queued.message.payload for queued in outbox.take(5)] == [b"ON", b"OFF", b"ON"]


@pytest.mark.parametrize(
    ("held", "new", "left"),
    [
        ("adsd", "a", "as d a"),
        ("adsd", "d", "as d d"),
        ("asas", "a", "aa s a"),
        ("asa", "d", "asa"),
        ("aaaa", "s", "aaaa"),
        ("aaaa", "a", "aaaaa"),
    ],
)
def test_descriptions_give_way_then_states_and_alerts_never(
    clock: FakeClock, held: str, new: str, left: str
) -> None:
    kinds: dict[str, Kind] = {"a": "alert", "d": "description", "s": "state"}
    outbox = Outbox(clock, caps=Caps(max_bytes=10 * len(held)))
    for number, short in enumerate(held + new):
        outbox.put(message(kinds[short], f"{short}{number}", b"." * 10))
    assert sorted(topic[0] for topic in waiting(outbox)) == sorted(left.replace(" ", ""))
    assert sum(outbox.stats().dropped.values()) == len(held + new) - len(left.replace(" ", ""))
    assert outbox.stats().dropped["alert"] == 0
    oldest = [topic for topic in waiting(outbox) if topic.startswith("d")]
    assert "d1" not in oldest  # the oldest goes first


def test_what_is_in_flight_does_not_give_way(clock: FakeClock) -> None:
    outbox = Outbox(clock, caps=Caps(max_bytes=20))
    outbox.put(message("description", "flying", b"." * 10))
    outbox.take(1)
    for n in range(3):
        outbox.put(message("alert", str(n), b"." * 10))
    assert "flying" in waiting(outbox)


def test_an_hour_is_enough_for_all_but_alerts(outbox: Outbox, clock: FakeClock) -> None:
    outbox.put(message("alert", "alert"))
    outbox.put(message("state", "state"))
    outbox.put(message("description", "health", retain=False, expires_s=60.0))
    clock.advance(61)
    assert waiting(outbox) == ["alert", "state"]
    clock.advance(3600)
    assert waiting(outbox) == ["alert"]
    assert topics([*outbox.take(5)]) == ["alert"]
    assert [kept.topic for kept in outbox.retained()] == [
        "state"
    ]  # the broker is told all the same


def test_what_is_left_of_its_time_goes_with_it(outbox: Outbox, clock: FakeClock) -> None:
    outbox.put(message("description", retain=False, expires_s=600.0))
    outbox.put(message("state", "kept"))
    outbox.put(message("alert", "alert"))
    clock.advance(100)
    left = {queued.message.topic: queued.left_s for queued in outbox.take(5)}
    assert left == {"t": pytest.approx(500.0), "kept": None, "alert": None}


def test_a_clock_that_is_set_makes_nothing_old(outbox: Outbox, clock: FakeClock) -> None:
    outbox.put(message("description", retain=False, expires_s=60.0))
    clock.step_wall(20 * 365 * 86_400.0)
    clock.advance(30)
    assert outbox.stats().oldest_s == pytest.approx(30.0)
    assert waiting(outbox) == ["t"]


def test_the_newest_retained_message_of_a_topic_is_remembered(outbox: Outbox) -> None:
    for topic, payload in (("a", b"old"), ("a", b"new")):
        outbox.put(message("description", topic, payload))
    outbox.put(message("state", "b", b"b"))
    other, old, new = outbox.take(5)
    outbox.put(message("state", "waits"))
    for queued in (new, other, old):  # late acknowledgements change nothing
        outbox.acknowledge([queued.id])
    assert [kept.payload for kept in outbox.retained()] == [b"new", b"b"]
    outbox.put(message("state", "b", b"newer"))
    assert [kept.payload for kept in outbox.retained()] == [b"new"]  # b's is on its way


def test_topics_that_nobody_knows_any_more_are_cleared(outbox: Outbox) -> None:
    for topic in ("s/porch/state", "s/gone/state", "s/waits/state"):
        outbox.put(message("state", topic))
    outbox.acknowledge([queued.id for queued in outbox.take(2)])
    outbox.withdraw(lambda topic: "porch" in topic)
    sent = send_all(outbox)
    assert {q.message.topic for q in sent if q.message.payload == b"" and q.message.retain} == {
        "s/gone/state",
        "s/waits/state",
    }
    assert [kept.topic for kept in outbox.retained()] == ["s/porch/state"]


# --- refusals


def test_a_refused_alert_steps_aside_and_comes_back(outbox: Outbox, clock: FakeClock) -> None:
    for n in range(3):
        outbox.put(message(topic=str(n)))
    outbox.refuse(outbox.take(2)[0].id, DENIED)
    assert waiting(outbox) == ["1", "2"]
    assert outbox.stats().dead_letters == 1
    clock.advance(59)
    assert outbox.retry() == 0
    clock.advance(1)
    assert outbox.retry() == 1
    assert outbox.stats().dead_letters == 1  # it is not accepted yet
    first = outbox.take(1)[0]
    assert (first.message.topic, first.tries) == ("0", 1)  # in its old place
    outbox.acknowledge([first.id])
    assert outbox.stats().dead_letters == 0


def test_the_pause_between_tries_grows_to_an_hour(clock: FakeClock) -> None:
    outbox = Outbox(clock)
    outbox.put(message())
    pauses = []
    for _ in range(9):
        outbox.refuse(outbox.take(1)[0].id, DENIED)
        (letter,) = outbox.dead_letters()
        assert letter.again is not None
        pauses.append(round(letter.again - letter.refused))
        clock.advance(pauses[-1])
        assert outbox.retry() == 1
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert BUSY.again_s(1) == 5.0  # the broker's own word that it is for now only


def test_a_new_link_is_worth_another_try_but_not_for_all(outbox: Outbox) -> None:
    """Rights and limits may be others; a name that is none, and what ends links, are the same."""
    for topic, why in (
        ("denied", DENIED),
        ("malformed", MALFORMED),
        ("large", too_large(1000, 500)),
        ("poison", ends_the_link(1000)),
    ):
        outbox.put(message(topic=topic, payload=b"." * 900))
        outbox.refuse(outbox.take(1)[0].id, why)
    assert outbox.retry_connected(500) == 1
    assert waiting(outbox) == ["denied"]
    assert outbox.retry_connected(5000) == 1
    assert waiting(outbox) == ["denied", "large"]
    assert outbox.retry_all() == 2
    assert len(waiting(outbox)) == 4


def test_dead_letters_are_listed_and_dropped_by_a_person(outbox: Outbox) -> None:
    outbox.put(message(topic="a", payload=b"12345"))
    outbox.refuse(outbox.take(1)[0].id, MALFORMED)
    (letter,) = outbox.dead_letters()
    shown = (letter.topic, letter.num_bytes, letter.reason, letter.code, letter.again)
    assert shown == ("a", 5, "name", 0x90, None)
    assert outbox.drop_dead_letters() == 1
    assert outbox.dead_letters() == []


def test_of_refused_states_the_newest_is_kept_until_one_gets_through(outbox: Outbox) -> None:
    for payload in (b"1", b"22"):
        outbox.put(message("state", "a", payload))
        outbox.refuse(outbox.take(1)[0].id, DENIED)
    assert [letter.num_bytes for letter in outbox.dead_letters()] == [2]
    outbox.put(message("state", "a", b"333"))
    send_all(outbox)
    assert outbox.dead_letters() == []  # what it said is no longer so


# --- replay


def test_alerts_of_a_time_are_told_once_more_marked_and_in_order(
    outbox: Outbox, clock: FakeClock
) -> None:
    for n in range(3):
        outbox.put(event(n))
    outbox.put(message("alert", "rule", b"ON", retain=True))
    outbox.put(message("description", "smolwatch/porch/event", b"{}", retain=False))
    send_all(outbox)
    clock.advance(10)
    since_s = clock.monotonic_s()
    for n in range(3, 30):
        outbox.put(event(n))
    outbox.acknowledge([queued.id for queued in outbox.take(26)])  # the last is still on its way
    assert outbox.replay(since_s) == 20
    told = [json.loads(queued.message.payload) for queued in send_all(outbox)]
    assert told == [{"n": 29}, *({"n": n, "replay": True} for n in range(9, 29))]
    assert outbox.replay(clock.monotonic_s() + 1) == 0
    assert outbox.replay(since_s) == 20  # it may go away again before it has taken them in


def test_a_replay_differs_by_its_mark_alone() -> None:
    content = event_content(match(7), 1.0)
    payload = event_messages(Topics(), match(7), content)[0].payload
    assert json.loads(as_replay(payload)) == {**content, "replay": True}


# --- across lives


def test_what_waited_is_there_after_a_crash_in_order_with_all_its_marks(
    lives: Lives, clock: FakeClock
) -> None:
    outbox = lives.begin()
    for n in range(5):
        outbox.put(message(topic=str(n)))
    outbox.put(message("state", "kept", b"x"))
    outbox.put(message("description", "words", retain=False, expires_s=100.0))
    outbox.acknowledge([outbox.take(1)[0].id])
    outbox.refuse(outbox.take(1)[0].id, DENIED)
    before = outbox.stats()
    clock.advance(50)
    again = lives.begin()
    assert again.stats() == before.__class__(
        **{
            **{name: getattr(before, name) for name in before.__slots__},
            "oldest_s": pytest.approx(50.0),
        }
    )
    again.put(message(topic="5"))
    taken = again.take(20)
    assert topics(taken) == ["2", "3", "4", "5", "kept", "words"]
    assert taken[-1].left_s == pytest.approx(50.0)
    clock.advance(10)
    assert again.retry() == 1


def test_a_life_knows_what_another_one_retained_and_sent(lives: Lives, clock: FakeClock) -> None:
    outbox = lives.begin()
    outbox.put(message("state", "a", b"1"))
    outbox.put(event(1))
    send_all(outbox)
    again = lives.begin()
    assert again.retained() == (message("state", "a", b"1"),)
    assert again.replay(clock.monotonic_s() - 300) == 1


def test_an_event_its_state_and_its_messages_are_one(lives: Lives, clock: FakeClock) -> None:
    outbox = lives.begin()
    sink = EventSink(clock, Topics(), None, outbox, lives.store)
    sink.publish(Outcome("porch", None, {}, (match(1),), "opened"))
    reader = open_reader(lives.path)
    counts = [
        reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("events", "incidents", "outbox", "runtime")
    ]
    reader.close()
    assert counts == [1, 1, 2, 1]
    assert lives.store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_an_alert_that_cannot_be_recorded_is_told_all_the_same(
    lives: Lives, clock: FakeClock
) -> None:
    outbox = lives.begin()
    sink = EventSink(clock, Topics(), None, outbox, lives.store)
    for _ in range(2):  # the second has the first one's id, which the store refuses
        sink.publish(Outcome("porch", None, {}, (match(1),), None))
    assert outbox.stats().pending == 4
    assert outbox.stats().in_memory == 0
    assert lives.begin().stats().pending == 4


def test_a_damaged_file_gives_back_what_can_be_read(lives: Lives) -> None:
    outbox = lives.begin()
    lives.store.remember("filler", "x" * 400_000)  # behind which the damage is done
    for n in range(10):
        outbox.put(message(topic=str(n)))
    checkpoint(lives.store.path)
    lives.store._connection.close()
    size = lives.path.stat().st_size
    with lives.path.open("r+b") as file:
        file.seek(size - 200_000)
        file.write(b"\xff" * 40_000)
    assert waiting(lives.begin()) == [str(n) for n in range(10)]
    assert len(list(lives.path.parent.glob("s.db.damaged-*"))) == 1


# --- full disks


def test_a_full_disk_sends_alerts_to_memory_and_order_stays(lives: Lives) -> None:
    outbox = lives.begin()
    outbox.put(message(topic="0"))
    lives.fill_disk()
    for n in range(1, 40):
        outbox.put(message(topic=str(n), payload=b"." * 1000))
    assert 0 < outbox.stats().in_memory < 40
    lives.free_disk()
    outbox.put(message(topic="40"))
    stats = outbox.stats()
    assert stats.pending == 41
    assert topics(outbox.take(100)) == [str(n) for n in range(41)]


def test_what_memory_had_to_take_goes_to_the_disk_when_there_is_room(
    lives: Lives, clock: FakeClock
) -> None:
    outbox = lives.begin()
    lives.fill_disk()
    for n in range(40):
        outbox.put(message(topic=str(n), payload=b"." * 1000))
    assert outbox.stats().in_memory > 0
    lives.free_disk()
    flying = outbox.take(30)
    clock.advance(11)
    assert topics(outbox.take(30)) == [str(n) for n in range(30, 40)]
    stats = outbox.stats()
    assert (stats.in_memory, stats.pending) == (0, 40)
    outbox.acknowledge([queued.id for queued in flying])  # wherever they are by now
    assert topics(lives.begin().take(50)) == [str(n) for n in range(30, 40)]


def test_what_a_full_disk_will_not_delete_is_not_sent_again(lives: Lives) -> None:
    outbox = lives.begin()
    for n in range(30):
        outbox.put(message("state", f"{n}", b"." * 3000))
    taken = outbox.take(10)
    lives.fill_disk()  # what is acknowledged would be remembered as retained: no room for that
    outbox.acknowledge([queued.id for queued in taken])
    outbox.release()
    assert outbox.stats().pending == 20
    assert topics(outbox.take(1)) == ["10"]
    outbox.release()
    lives.free_disk()
    outbox.acknowledge([outbox.take(1)[0].id])
    assert outbox.stats().pending == 19
    assert len(lives.begin().take(100)) == 19


def test_memory_has_an_end_too_and_says_so(clock: FakeClock) -> None:
    outbox = Outbox(clock, caps=Caps(memory_bytes=1_000_000))
    with structlog.testing.capture_logs() as logs:
        for n in range(2000):
            outbox.put(message(topic=str(n), payload=b"." * 1000))
    stats = outbox.stats()
    assert stats.dropped["alert"] + stats.pending == 2000
    assert 500 < stats.pending < 1000
    assert {entry["event"] for entry in logs} == {"outbox.lost"}
    assert topics(send_all(outbox)) == [str(n) for n in range(stats.pending)]
    outbox.put(message(topic="again"))
    assert waiting(outbox) == ["again"]


def test_full_and_drained_are_said_once(clock: FakeClock) -> None:
    with structlog.testing.capture_logs() as logs:
        outbox = Outbox(clock, caps=Caps(max_bytes=100))
        for n in range(20):
            outbox.put(message("description", str(n), b"." * 10))
        send_all(outbox)
    assert [entry["event"] for entry in logs] == ["outbox.full", "outbox.drained"]
    assert logs[1]["dropped"]["description"] == 10
