"""What the process itself writes: its own log on stderr, checkpoints of the audit log on stdout."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import select
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_STDOUT = 1
_FIRST = ("timestamp", "level", "event", "logger", "correlation_id", "trace_id", "span_id")
"""What a line begins with, in this order; `exception` ends it."""


def configure_logging(form: str, level: str) -> None:
    """Have everything that this process tells of itself leave as one event a line on stderr.

    `form` is `json`, `console` or `auto`: for people when stderr is a terminal, else JSON. `level` (debug, info,
    warning, error) is for autoheal's own events; libraries are heard from `warning` on, because what they say below
    that may quote headers and addresses with secrets.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _Stderr(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form)],
        )
    )
    logging.basicConfig(level=max(least, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("autoheal").setLevel(least)
    # uvicorn says why it could not bind; the library's own logger keeps quiet below that.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    _catch_what_nobody_caught()
    with contextlib.suppress(AttributeError):
        sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _rendering(form: str) -> list[Processor]:
    terminal = sys.stderr.isatty()
    if form == "json" or (form == "auto" and not terminal):
        return [structlog.processors.format_exc_info, _as_json]
    colours = terminal and not os.environ.get("NO_COLOR")
    return [
        _printable_event,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=_for_people, repr_native_str=True),
    ]


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    """`event` as one line, whatever is in it."""
    ordered = {**{name: event[name] for name in _FIRST if name in event}, **event}
    if "exception" in ordered:
        ordered["exception"] = ordered.pop("exception")
    try:
        return _dumped(ordered)
    except (TypeError, ValueError):
        return json.dumps({str(name): _holdable(value) for name, value in ordered.items()}, default=repr)


def _dumped(value: Any) -> str:
    """`value` as JSON in ASCII. Raises ValueError for what JSON cannot hold (RFC 8259 sections 6 and 8.2)."""
    line = json.dumps(value, default=repr, allow_nan=False)
    if "\\ud" in line:
        json.dumps(value, default=repr, ensure_ascii=False).encode()  # half a pair of surrogates is no Unicode
    return line


def _holdable(value: Any) -> Any:
    """`value`, or how Python writes it when JSON cannot hold it."""
    try:
        _dumped(value)
    except (TypeError, ValueError):
        return ascii(value)
    return value


def _printable_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A library's text may quote strangers, who must not drive the terminal (CWE-150)."""
    event["event"] = _printable(str(event.get("event", "")))
    return event


def _for_people(out: TextIO, raised: ExcInfo) -> None:
    lines = "".join(traceback.format_exception(*raised)).splitlines()
    out.write("\n" + "\n".join(map(_printable, lines)))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _Stderr(logging.StreamHandler[TextIO]):
    """Stays at one line per event when a library's call is at fault."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 its name in the library
        """Say that a line is lost, and whose; the standard library would print a traceback of many lines."""
        lost = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": "error",
            "event": "log_line_lost",
            "logger": record.name,
            "error": repr(sys.exception()),
        }
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(json.dumps(lost) + self.terminator)


def _catch_what_nobody_caught() -> None:
    log = structlog.get_logger("autoheal")

    def main_thread(*raised: Any) -> None:
        log.critical("uncaught", exc_info=raised)

    def other_thread(args: threading.ExceptHookArgs) -> None:
        raised = (args.exc_type, args.exc_value, args.exc_traceback)
        log.critical("uncaught_in_thread", thread=args.thread.name if args.thread else None, exc_info=raised)

    def nowhere(args: sys.UnraisableHookArgs) -> None:
        raised = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("unraisable", where=repr(args.object), exc_info=raised)

    sys.excepthook, threading.excepthook, sys.unraisablehook = main_thread, other_thread, nowhere


def print_line(line: bytes) -> None:
    """Write to standard output. Raises OSError, also when nobody reads there: a wait would hold up everything."""
    if not select.select([], [_STDOUT], [], 0)[1]:
        raise BlockingIOError(errno.EAGAIN, "nobody reads what stands there already")
    os.write(_STDOUT, line)
