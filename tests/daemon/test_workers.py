"""Is a failed thread noticed, once, and is a stop bounded?"""

import threading

import structlog

from daemon.workers import Workers


def test_an_exception_is_logged_once_and_ends_the_daemon() -> None:
    workers = Workers()

    def fails(stop: threading.Event) -> None:
        raise ZeroDivisionError("on purpose")

    with structlog.testing.capture_logs() as logs:
        workers.start("broken", fails, threading.Event())
        assert workers.ended.wait(5)
        workers.join(5, "broken")
    assert workers.failed == "broken"
    (line,) = logs
    assert (line["event"], line["worker"], line["exc_info"]) == ("worker.failed", "broken", True)


def test_a_thread_that_returns_is_no_failure() -> None:
    workers = Workers()
    workers.start("file", lambda stop: None, threading.Event())
    assert workers.join(5, "file") == ()
    assert not workers.ended.is_set()
    assert workers.failed is None


def test_who_does_not_stop_is_named_and_left_behind() -> None:
    workers, release, stop = Workers(), threading.Event(), threading.Event()
    workers.start("stuck", lambda stop: release.wait(30) and None, stop)
    workers.start("good", lambda stop: stop.wait(30) and None, stop)
    stop.set()
    assert workers.join(0.3, "good", "stuck") == ("stuck",)
    release.set()
    assert workers.join(5, "stuck") == ()
