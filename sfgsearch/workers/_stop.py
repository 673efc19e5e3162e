"""Requests to leave that reach a worker by signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sfgsearch._exit_status import INTERRUPTED, TERMINATED

_CHECKPOINT_SECONDS = 8.0
"""Seconds after SIGTERM in which training should have come to a checkpoint; the promise is ten."""

_HAND_BACK_SECONDS = 1.0


class StopRequest:
    """Whether a worker shall leave, and how soon.

    SIGTERM, which schedulers send before they take a machine away, asks to leave at the next step. The first SIGINT
    (Ctrl-C) asks to leave at the end of the epoch, the second raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.at_once = False
        self.after_epoch = False
        self.status = 0
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """Whether to leave at all."""
        return self.at_once or self.after_epoch

    def terminate(self) -> None:
        """Ask to leave at the next step."""
        self.at_once, self.status = True, TERMINATED
        self._event.set()

    def interrupt(self) -> None:
        """Ask to leave at the end of the epoch.

        Raises:
            KeyboardInterrupt: If that was asked before.
        """
        if self.after_epoch:
            raise KeyboardInterrupt
        self.after_epoch, self.status = True, self.status or INTERRUPTED
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait until somebody asks to leave, or so long; True if to leave."""
        return self._event.wait(seconds)

    @contextmanager
    def listening(self, on_deadline: Callable[[], None]) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT in the block, where signals can be had: in the main thread.

        Args:
            on_deadline: Called in a thread when a worker that was asked to terminate is still here after eight
                seconds; then the process ends.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        timers: list[threading.Timer] = []

        def terminate(_number: int, _frame: FrameType | None) -> None:
            self.terminate()
            if not timers:
                for seconds, action in (
                    (_CHECKPOINT_SECONDS, on_deadline),
                    (_CHECKPOINT_SECONDS + _HAND_BACK_SECONDS, lambda: None),
                ):
                    timers.append(threading.Timer(seconds, _leave, [action]))
                    timers[-1].daemon = True
                    timers[-1].start()

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self.interrupt()

        before = {signal.SIGTERM: signal.getsignal(signal.SIGTERM), signal.SIGINT: signal.getsignal(signal.SIGINT)}
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for timer in timers:
                timer.cancel()
            for timer in timers:
                timer.join()  # a thread that frees tensors while the interpreter ends would abort the process


def _leave(action: Callable[[], None]) -> None:
    try:
        action()
    finally:
        os._exit(TERMINATED)  # whatever the main thread is in the middle of, the checkpoint before it stands
