"""How does the daemon talk to the person who runs it?

Knows no part of the daemon: JSON lines for the journal, colours on a terminal, secrets in neither.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.log_levels import Level, Part, set_level
from daemon.log_repeats import Repeats
from daemon.redact import Redactor

_CHATTY = ("amqtt", "transitions", "asyncio", "httpx", "urllib3", "filelock", "huggingface_hub")


class RedactSecrets:
    """A structlog processor that masks secrets in every value, tracebacks included.

    It stands after `format_exc_info`, so that an exception's text has become a value, and before
    the renderer, which would escape quotes and backslashes and so hide a secret from a search.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask one record. `logger` and `method` are structlog's, unused."""
        del logger, method
        # Names with an underscore are structlog's own and are taken out before rendering.
        return {
            key: value if key.startswith("_") else self._redactor.value(value)
            for key, value in event.items()
        }


def setup(
    *,
    level: str = "info",
    levels: Mapping[Part, Level] | None = None,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    json_lines: bool | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> None:
    """Set up structlog and the standard library's logging, once, from the command line.

    `stream` is standard error if not given, which systemd sends to the journal. `json_lines` None
    means: JSON, unless the stream is a terminal. `secrets` are masked wherever they appear.
    `levels`: of single parts (`daemon.log_levels`). What repeats is counted (`daemon.log_repeats`),
    by the monotonic `now_s`. May be called again, when the configuration has been read.
    """
    target = sys.stderr if stream is None else stream
    as_json = not target.isatty() if json_lines is None else json_lines
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Plain tracebacks: the coloured ones print local variables, and those hold passwords.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                RedactSecrets(Redactor(secrets)),
                _renderer(as_json=as_json, colors=target.isatty()),
            ],
        )
    )
    handler.addFilter(Repeats(now_s))
    root = logging.getLogger()
    tell_repeats(ending=True)  # of an earlier call
    root.handlers[:] = [handler]
    set_level("all", level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for part, wanted in (levels or {}).items():
        set_level(part, wanted)
    _catch_the_rest()


def tell_repeats(*, ending: bool = False) -> None:
    """Say what was counted instead of said, where it is time. To be called now and then."""
    for handler in logging.getLogger().handlers:
        for held in [one for one in handler.filters if isinstance(one, Repeats)]:
            for record in held.due(ending=ending):
                handler.acquire()
                try:
                    handler.emit(record)
                finally:
                    handler.release()


def _catch_the_rest() -> None:
    """What Python itself would print, secrets and all, is logged instead."""

    def died(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        told = (kind, error, where)
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(*told)
        else:
            structlog.get_logger(__name__).critical("process.failed", exc_info=told)

    def thread_died(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            died(args.exc_type, args.exc_value, args.exc_traceback)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            died(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook, threading.excepthook, sys.unraisablehook = died, thread_died, unraisable
    logging.captureWarnings(capture=True)


def _renderer(*, as_json: bool, colors: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )
