"""Does the outbox keep order and bounds, and what gives way when it is full?"""

from __future__ import annotations

from typing import Any, get_args

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.mqtt.payloads import Kind, Message
from daemon.outbox import IN_FLIGHT, Outbox, Queued
from tests.fakes import FakeClock

CAPACITY = IN_FLIGHT + 3


def message(kind: Kind = "alert", topic: str = "t", payload: bytes = b"") -> Message:
    return Message(topic, payload, 1, retain=kind != "alert", kind=kind)


def take_all(outbox: Outbox) -> list[Queued]:
    return list(iter(outbox.next, None))


def fill(outbox: Outbox, *kinds: Kind) -> None:
    for number, kind in enumerate(kinds):
        outbox.put(message(kind, f"{kind}/{number}"))


def waiting_topics(outbox: Outbox) -> list[str]:
    outbox.release()
    return [queued.message.topic for queued in take_all(outbox)]


def test_what_was_put_comes_out_in_order_and_only_once() -> None:
    outbox = Outbox(FakeClock())
    ids = [outbox.put(message(topic=str(n))) for n in range(5)]
    assert [queued.id for queued in take_all(outbox)] == ids
    assert outbox.next() is None


def test_a_message_stays_until_it_is_acknowledged() -> None:
    outbox = Outbox(FakeClock())
    first = outbox.put(message(topic="first"))
    outbox.put(message(topic="second"))
    take_all(outbox)
    outbox.acknowledge(first)
    assert outbox.stats().pending == 1
    outbox.release()
    assert waiting_topics(outbox) == ["second"]


def test_after_a_lost_link_messages_go_out_again_in_their_old_place() -> None:
    outbox = Outbox(FakeClock())
    for n in range(4):
        outbox.put(message(topic=str(n)))
    outbox.next()
    outbox.next()
    outbox.release()
    assert waiting_topics(outbox) == ["0", "1", "2", "3"]


def test_a_refused_message_is_given_up_and_not_remembered() -> None:
    outbox = Outbox(FakeClock())
    outbox.refuse(outbox.put(message("state")))
    assert outbox.stats().pending == 0
    assert outbox.retained() == ()


def test_a_newer_state_replaces_the_waiting_one_of_its_topic() -> None:
    outbox = Outbox(FakeClock())
    outbox.put(message("state", "a", b"1"))
    outbox.put(message("state", "b", b"2"))
    outbox.put(message("state", "a", b"3"))
    assert [queued.message.payload for queued in take_all(outbox)] == [b"2", b"3"]


def test_a_state_in_flight_is_not_replaced() -> None:
    outbox = Outbox(FakeClock())
    outbox.put(message("state", "a", b"1"))
    outbox.next()
    outbox.put(message("state", "a", b"2"))
    outbox.release()
    assert [queued.message.payload for queued in take_all(outbox)] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("held", "new", "gone"),
    [
        (("alert", "description", "state", "description"), "alert", "description/1"),
        (("alert", "description", "state", "description"), "description", "description/1"),
        (("alert", "state", "alert", "state"), "alert", "state/1"),
        (("alert", "state", "alert"), "description", "new"),
        (("alert", "alert"), "state", "new"),
        (("alert", "alert"), "alert", "alert/0"),
    ],
)
def test_descriptions_give_way_then_states_and_alerts_last(
    held: tuple[Kind, ...], new: Kind, gone: str
) -> None:
    padding: tuple[Kind, ...] = ("alert",) * (CAPACITY - len(held))
    outbox = Outbox(FakeClock(), CAPACITY)
    fill(outbox, *held, *padding)
    before = [*waiting_topics(outbox), "new"]
    outbox.release()
    outbox.put(message(new, "new"))
    assert waiting_topics(outbox) == [topic for topic in before if topic != gone]
    assert sum(outbox.stats().dropped.values()) == 1


def test_what_is_in_flight_does_not_give_way() -> None:
    outbox = Outbox(FakeClock(), CAPACITY)
    fill(outbox, "description", *(("alert",) * (CAPACITY - 1)))
    taken = outbox.next()
    assert taken is not None
    outbox.put(message("alert", "new"))
    topics = waiting_topics(outbox)
    assert topics[0] == taken.message.topic
    assert "alert/1" not in topics


def test_the_newest_retained_message_of_a_topic_is_remembered() -> None:
    outbox = Outbox(FakeClock())
    old = outbox.put(message("description", "a", b"old"))
    new = outbox.put(message("description", "a", b"new"))
    other = outbox.put(message("state", "b", b"b"))
    outbox.put(message("state", "waits", b""))
    for queued_id in (other, new, old):  # late acknowledgements change nothing
        outbox.acknowledge(queued_id)
    assert [kept.payload for kept in outbox.retained()] == [b"new", b"b"]


def test_a_dropped_state_is_still_shown_after_the_next_connect() -> None:
    outbox = Outbox(FakeClock(), CAPACITY)
    fill(outbox, "state", *(("alert",) * CAPACITY))
    assert [kept.topic for kept in outbox.retained()] == ["state/0"]


def test_stats_tell_the_age_of_the_oldest() -> None:
    clock = FakeClock()
    outbox = Outbox(clock)
    outbox.put(message())
    clock.advance(3.0)
    outbox.put(message())
    assert outbox.stats().oldest_s == pytest.approx(3.0)
    assert Outbox(clock).stats().oldest_s == 0.0


def test_full_and_drained_are_said_once() -> None:
    with structlog.testing.capture_logs() as logs:
        outbox = Outbox(FakeClock(), CAPACITY)
        fill(outbox, *(("alert",) * (CAPACITY + 5)))
        for queued in take_all(outbox):
            outbox.acknowledge(queued.id)
    assert [entry["event"] for entry in logs] == ["outbox.full", "outbox.drained"]
    assert logs[1]["dropped"]["alert"] == 5


def test_a_capacity_below_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=f"more than {IN_FLIGHT}"):
        Outbox(FakeClock(), IN_FLIGHT)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.sampled_from(get_args(Kind)),
            st.integers(0, 5),
            st.integers(1, CAPACITY),
        ),
        st.tuples(st.just("next"), st.integers(1, IN_FLIGHT)),
        st.tuples(st.just("acknowledge"), st.integers(0, IN_FLIGHT)),
        st.tuples(st.just("release")),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(st.integers(CAPACITY, CAPACITY + 10), steps)
def test_bounds_and_order_hold_whatever_happens(capacity: int, schedule: list[Any]) -> None:
    outbox = Outbox(FakeClock(), capacity)
    flying: list[Queued] = []
    alerts: set[int] = set()
    acknowledged: set[int] = set()
    for step, *rest in schedule:
        if step == "put":
            kind, topic, count = rest
            for _ in range(count):
                before = held(outbox)
                dropped = outbox.stats().dropped["alert"]
                put_id = outbox.put(message(kind, f"{kind}/{topic}"))
                alerts |= {put_id} if kind == "alert" else set()
                if (
                    outbox.stats().dropped["alert"] > dropped
                ):  # only alerts were left to choose from
                    assert {q.message.kind for q in before if q not in flying} == {"alert"}
        elif step == "next":
            room = min(rest[0], IN_FLIGHT - len(flying))
            flying += [queued for _ in range(room) if (queued := outbox.next())]
        elif step == "acknowledge" and flying:
            done = flying.pop(rest[0] % len(flying))
            acknowledged.add(done.id)
            outbox.acknowledge(done.id)
        elif step == "release":
            flying.clear()
            outbox.release()
        ids = [queued.id for queued in held(outbox)]
        assert len(ids) <= capacity
        assert ids == sorted(ids)
        assert {queued.id for queued in flying} <= set(ids)
        assert not acknowledged & set(ids)
        lost = alerts - acknowledged - set(ids)
        assert len(lost) == outbox.stats().dropped["alert"]


def held(outbox: Outbox) -> list[Queued]:
    """All that the outbox holds, without touching what is in flight."""
    return list(outbox._queue.values())
