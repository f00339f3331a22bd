"""Where Sojourn's log lines go, as the `logger` section of an agent.yml says."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sojourn.config.schema import Logger, Transport

#: `silly` is npm's word for more than debug, which Python does not have.
_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO}

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: A log file is put aside at this size, bytes, and this many old ones are kept.
_MAX_BYTES, _OLD_FILES = 10 * 1024 * 1024, 5


def configure(section: Logger, base: Path) -> None:
    """Give the logger `sojourn` the section's level and outputs; those of an earlier call end. Others stay as they are.

    Relative paths start at `base`. Raises OSError for a file that cannot be written.
    """
    made = [handler for transport in section.transports if (handler := _handler(transport, base)) is not None]
    logger = logging.getLogger("sojourn")
    for old in [handler for handler in logger.handlers if handler.get_name() == __name__]:
        logger.removeHandler(old)
        old.close()
    for handler in made:
        handler.set_name(__name__)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(_LEVELS.get(section.level, logging.DEBUG))
    logger.propagate = not made and not any(transport.type == "silent" for transport in section.transports)


def _handler(transport: Transport, base: Path) -> logging.Handler | None:
    if transport.type == "console":
        return logging.StreamHandler(sys.stderr)
    if transport.type == "file" and transport.path is not None:
        file = base / transport.path
        file.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(file, maxBytes=_MAX_BYTES, backupCount=_OLD_FILES, encoding="utf-8", delay=True)
    return None
