"""The exit statuses of commands and workers."""

from __future__ import annotations

import signal

MISSING = 1
"""Something that the study asks for is not there."""

BAD_INPUT = 2
"""A bad study file, option or database, named in one line."""

AWAY = 75
"""The database did not come back; ``EX_TEMPFAIL`` of sysexits.h."""

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
