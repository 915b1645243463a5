"""How do the parts run, how do they end, and how are they exchanged while they run?

Knows threads, their order and their heartbeats; the work of none. The main thread's life.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import structlog

from daemon import __version__, logs
from daemon.announce import bridge_info
from daemon.app import App, join
from daemon.disk_trouble import joined
from daemon.figures import disk_troubles
from daemon.front import HTTP_BOUND_S
from daemon.ground import Ground
from daemon.mqtt.discovery import removal
from daemon.reloading import Prospect, Reloads
from daemon.systemd import Heartbeat, Notifier, Watchdog
from daemon.tidying import Tidying
from pipelines.threads import yield_to_capture

TICK_S = 1.0
INFERENCE_BOUND_S = 600.0  # 27 s were measured for the smallest model on two old, busy cores
CAPTURE_BOUND_S = 120.0  # the longest wait between attempts, 60 s, and what an attempt may take
PUBLISHER_BOUND_S = 30.0
DESK_BOUND_S = 60.0  # one command: at most a snapshot to decode, and a slow disk
# Together below the five seconds in which a stop must end.
INFERENCE_STOP_S = 2.0
PUBLISHER_STOP_S = 2.6
STORE_STOP_S = 0.2

_STOPPING = "smolwatch is stopping: ask again when it runs"
_RELOADING = "smolwatch has taken up its changed configuration: ask again"

log = structlog.get_logger(__name__)


_Run = Callable[[threading.Event], None]


class _Thread(NamedTuple):
    name: str
    run: _Run
    stop: threading.Event


class Running:
    """Runs `app`, and where `reloads` are asked for, the one that takes its place."""

    def __init__(self, app: App, reloads: Reloads | None = None) -> None:
        self.app = app
        self._reloads = reloads
        self._stop = threading.Event()  # of the parts that a reload makes anew
        self._model_id = app.ground.edges.slot.model_id
        self._tidying = Tidying()
        if reloads is not None:
            reloads.done(app.ground)

    def run(self, watchdog: Watchdog, notifier: Notifier) -> int:
        """Start the threads, report until `workers.ended` is set, stop them; the exit code.

        Ends within five seconds of `ended`; a model that is in a forward pass, or a camera in a
        stuck read, is left behind.
        """
        self._begin(None)
        log.info("daemon.started", version=__version__, cameras=list(self.app.captures))
        notifier.ready()
        while not self.app.clock.wait(self.app.workers.ended, TICK_S):
            notifier.status(self._report())
            beats = self.app.front.pulse.note(self._heartbeats())
            watchdog.check(beats, self.app.clock.monotonic_s())
            if self._reloads is not None:
                self._reload(self._reloads, watchdog, notifier)
        notifier.stopping()
        self._end()
        return 1 if self.app.workers.failed else 0

    def _report(self) -> str:
        app = self.app
        if app.throttling is not None:
            app.throttling.tick()
        problem = self._reloads.problem if self._reloads is not None else None
        troubles = (problem, *joined(disk_troubles(app.store, app.media, app.event_log).values()))
        app.reporter.trouble = "; ".join(filter(None, troubles)) or None
        logs.tell_repeats()
        said = app.reporter.report()
        app.requests.expire()  # a model that is stuck cannot say so itself
        if app.lookout is not None:
            app.lookout.look()
        slot = app.ground.edges.slot
        if slot.model_id != self._model_id and app.ground.outbox is not None:
            app.ground.outbox.put(bridge_info(app.config, app.ground.topics, slot))
        self._model_id = slot.model_id
        is_there = slot.state.phase == "ready"
        self._tidying.tidy(app.clock.monotonic_s(), slot.model_id if is_there else None)
        return said

    # Threads.

    def _begin(self, before: Ground | None) -> None:
        """Start what does not run yet. `before`: what did, and goes on where it is the same."""
        for thread in self._threads(before):
            self.app.workers.start(*thread)

    def _threads(self, before: Ground | None) -> Iterator[_Thread]:
        """Those that do not run yet, in the order in which they begin."""
        app, ground, stop = self.app, self.app.ground, self.app.ground.edges.stop
        cameras = before.cameras if before is not None else {}
        media, link, http = ground.media, ground.publisher, app.front.http
        starting, new_media, new_link = True, True, True
        if before is not None:
            starting, new_media = False, before.media is not media
            new_link = before.publisher is not link
        parts: tuple[tuple[str, _Run | None, threading.Event], ...] = (
            ("store", app.store.keep if app.store and starting else None, stop),
            ("control", app.control.run if app.control and starting else None, stop),
            ("http", http.run if http and starting else None, stop),
            ("digest", app.digests.run if app.digests else None, self._stop),
            ("media", media.run if media and new_media else None, ground.media_stop),
            ("publisher", link.run if link and new_link else None, ground.publisher_stop),
            *(
                (f"capture-{name}", camera.capture.run, camera.stop)
                for name, camera in ground.cameras.items()
                if cameras.get(name) is not camera
            ),
            ("inference", self._look, self._stop),
            ("desk", app.desk.run if app.desk else None, self._stop),
            ("model", app.loader.run if app.loader and starting else None, stop),
        )
        yield from (_Thread(name, run, end) for name, run, end in parts if run is not None)

    def _look(self, stop: threading.Event) -> None:
        """The inference thread. Cameras come first where cores are short: a late frame is lost."""
        yield_to_capture()
        self.app.inference.run(stop)

    def _heartbeats(self) -> list[Heartbeat]:
        app = self.app
        beats = [
            Heartbeat(f"capture {name}", capture.heartbeat_s, CAPTURE_BOUND_S)
            for name, capture in app.captures.items()
        ]
        beats.append(Heartbeat("inference", app.inference.heartbeat_s, INFERENCE_BOUND_S))
        if app.publisher is not None:
            beat_s = app.publisher.health().heartbeat_s
            beats.append(Heartbeat("publisher", beat_s, PUBLISHER_BOUND_S))
        if app.desk is not None:
            beats.append(Heartbeat("desk", app.desk.heartbeat_s, DESK_BOUND_S))
        if app.front.http is not None:
            beats.append(Heartbeat("http", app.front.http.heartbeat_s, HTTP_BOUND_S))
        return beats

    # Exchange.

    def _reload(self, reloads: Reloads, watchdog: Watchdog, notifier: Notifier) -> None:
        """Do what was asked for. Whoever asked by a signal waits for READY, whatever came of it."""
        asked = reloads.is_asked
        if asked:
            notifier.reloading(self.app.clock.monotonic_s())
        prospect = reloads.take()
        if prospect is not None:
            if not asked:
                notifier.reloading(self.app.clock.monotonic_s())
            self._exchange(prospect, watchdog, notifier)
        if asked or prospect is not None:
            notifier.ready()

    def _exchange(self, prospect: Prospect, watchdog: Watchdog, notifier: Notifier) -> None:
        """Put other parts in the places of those that change; cameras that do not, read on."""
        before, workers = self.app, self.app.workers
        before.inference.hand_over()
        self._stop.set()
        for queue in (before.requests, before.writings):
            queue.close(_RELOADING)
        made_anew = tuple(self._made_anew())
        while workers.join(TICK_S, *made_anew):  # a window may take the model a while
            if workers.ended.is_set():
                return
            notifier.status("reloading: the model finishes its last window")
            beats = before.front.pulse.note(self._heartbeats())
            watchdog.check(beats, before.clock.monotonic_s())
        if before.lookout is not None:
            before.lookout.end()
        if before.throttling is not None:
            before.throttling.end()
        self._leave(before.ground, prospect.ground)
        if prospect.wish is not None and before.loader is not None:
            before.loader.change(prospect.wish)
        reload = self._reloads.ask if self._reloads is not None else None
        self._stop = threading.Event()
        self.app = join(prospect.ground, reload, before)
        self._clear_away(before)
        self._begin(before.ground)
        if self._reloads is not None:
            self._reloads.done(prospect.ground)
            self._reloads.outside.taken_up(prospect.ground.config)
        log.info("config.reloaded", **prospect.plan.as_json())

    def _made_anew(self) -> Iterator[str]:
        yield "inference"
        if self.app.digests is not None:
            yield "digest"
        if self.app.desk is not None:
            yield "desk"

    def _leave(self, before: Ground, now: Ground) -> None:
        """End what has no place any more. A camera in a stuck read ends when it can."""
        for name, parts in before.cameras.items():
            if now.cameras.get(name) is not parts:
                parts.stop.set()
                before.edges.epochs[name] = parts.capture.next_epoch
        for name, parts in now.cameras.items():
            if before.cameras.get(name) is not parts:
                parts.capture.begin_with(before.edges.epochs.get(name, 0))
        if before.media is not None and before.media is not now.media:
            before.media_stop.set()
            before.edges.workers.join(INFERENCE_STOP_S, "media")
        if before.publisher is not None and before.publisher is not now.publisher:
            before.publisher_stop.set()
            before.edges.workers.join(PUBLISHER_STOP_S, "publisher")
        if before.event_log is not None and before.event_log is not now.event_log:
            before.event_log.close()

    def _clear_away(self, before: App) -> None:
        """What was announced on another link, and is not on this one."""
        outbox, home = self.app.ground.outbox, self.app.home
        if outbox is None or before.home is None or before.home is home:
            return
        here = home.topics if home is not None else ()
        outbox.put_all([removal(topic) for topic in before.home.topics if topic not in here])

    # End.

    def _end(self) -> None:
        """First those who have something to tell, so that it is still published."""
        app, ground = self.app, self.app.ground
        for stop in (self._stop, ground.edges.stop, ground.media_stop):
            stop.set()
        for parts in ground.cameras.values():
            parts.stop.set()
        for queue in (app.requests, app.writings):
            queue.close(_STOPPING)
        left = app.workers.join(INFERENCE_STOP_S, *self._tellers)
        app.reporter.goodbye()
        ground.publisher_stop.set()
        links = {"publisher": ground.publisher, "http": app.front.http}
        there = [name for name, link in links.items() if link is not None]
        left += app.workers.join(PUBLISHER_STOP_S, *there)
        if app.event_log is not None:
            app.event_log.close()
        self._close_store()
        logs.tell_repeats(ending=True)
        log.info("daemon.stopped", failed=app.workers.failed, left_behind=list(left))

    def _close_store(self) -> None:
        """Not under a thread that still writes: a store that is not closed loses nothing."""
        app = self.app
        if app.lookout is not None:
            app.lookout.end()
        if app.throttling is not None:
            app.throttling.end()
        others = {"store": app.store, "digest": app.digests}
        writers = (*self._tellers, *(name for name, there in others.items() if there is not None))
        if app.store is not None and not app.workers.join(STORE_STOP_S, *writers):
            app.store.close()

    @property
    def _tellers(self) -> tuple[str, ...]:
        """The threads that write to outbox and store."""
        media = ("media",) if self.app.media is not None else ()
        return ("inference", *media, *(("desk",) if self.app.desk is not None else ()))
