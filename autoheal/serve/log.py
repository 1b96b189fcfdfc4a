"""What the process itself writes: its own log on stderr, checkpoints of the audit log on stdout."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import sys

import structlog

_STDOUT = 1


def configure_logging() -> None:
    """The service's own log: one JSON object a line on stderr, with the correlation id of the request."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # uvicorn says why it could not bind; the library's own logger keeps quiet below that.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with contextlib.suppress(AttributeError):
        sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def print_line(line: bytes) -> None:
    """Write to standard output. Raises OSError, also when nobody reads there: a wait would hold up everything."""
    if not select.select([], [_STDOUT], [], 0)[1]:
        raise BlockingIOError(errno.EAGAIN, "nobody reads what stands there already")
    os.write(_STDOUT, line)
