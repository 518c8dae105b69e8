# SPDX-License-Identifier: Apache-2.0
"""Log lines of the served stages: plain text or JSON, on standard error, where Triton's log collects them.

Triton starts every stage as a process, so the level and the format are variables of the environment:
EULERNET_LOG_LEVEL (DEBUG, INFO, WARNING, ERROR) and EULERNET_LOG_FORMAT (text, json).
"""

import logging
import os
import sys
import time
from pathlib import Path

LEVEL_VARIABLE, FORMAT_VARIABLE = "EULERNET_LOG_LEVEL", "EULERNET_LOG_FORMAT"
LEVELS, FORMATS = ("DEBUG", "INFO", "WARNING", "ERROR"), ("text", "json")
FIELDS = ("model", "sequence", "status", "duration_ms", "batch", "exception", "reason")
REPEAT_S = 1.0  # a caught exception of one kind is logged once in so many seconds


class _OneASecond(logging.Filter):
    """Passes one record about a caught exception of a kind a second: bad input must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = getattr(record, "exception", None)
        if kind is None:
            return True
        key, now_s = (record.getMessage(), kind), time.monotonic()
        if now_s - self._last_s.get(key, -REPEAT_S) < REPEAT_S:
            return False
        self._last_s[key] = now_s
        return True


class _TextFormatter(logging.Formatter):
    """`time level logger message field=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = [f"{name}={getattr(record, name)}" for name in FIELDS if getattr(record, name, None) is not None]
        return " ".join([super().format(record), *fields])


def configure_stage_logging() -> None:
    """Sends the logger `eulernet_serving` to standard error as the environment says; call it once a process.

    Raises: ValueError for a level or format that does not exist.
    """
    _configure([])


def _configure(handlers: list[logging.Handler]) -> None:
    level = os.environ.get(LEVEL_VARIABLE, "INFO").upper()
    kind = os.environ.get(FORMAT_VARIABLE, "text").lower()
    if level not in LEVELS:
        raise ValueError(f"{LEVEL_VARIABLE}={level!r}: choose one of {', '.join(LEVELS)}")
    if kind not in FORMATS:
        raise ValueError(f"{FORMAT_VARIABLE}={kind!r}: choose one of {', '.join(FORMATS)}")
    handlers = [logging.StreamHandler(sys.stderr), *handlers]
    for handler in handlers:
        handler.setFormatter(_formatter(kind))
        handler.addFilter(_OneASecond())
    logger = logging.getLogger("eulernet_serving")
    logger.handlers, logger.propagate = handlers, False
    logger.setLevel(level)


def configure_supervisor_logging(log: Path) -> None:
    """Sends the logger `eulernet_serving` to standard error and to the server's log, as the environment says.

    Raises: ValueError for a level or format that does not exist; OSError where the log can't be written.
    """
    _configure([logging.FileHandler(log)])


def _formatter(kind: str) -> logging.Formatter:
    if kind == "text":
        return _TextFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "time", "levelname": "level"}
    )


def log_caught(logger: logging.Logger, message: str, error: BaseException, **fields: object) -> None:
    """Logs an exception that a stage has handled, with its class; `fields`: of FIELDS."""
    logger.info(message, extra={"exception": type(error).__name__, "reason": str(error), **fields})
