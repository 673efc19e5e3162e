import os
import signal
import threading

import pytest

from sfgsearch.workers import StopRequest


def nothing():
    pass


def test_nobody_asks_at_first():
    stop = StopRequest()
    with stop.listening(nothing):
        assert (stop.requested, stop.status) == (False, 0)


def test_sigterm_asks_to_leave_at_once():
    stop = StopRequest()
    with stop.listening(nothing):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(1)
    assert (stop.at_once, stop.status) == (True, 143)


def test_the_first_sigint_asks_to_leave_after_the_epoch_and_the_second_at_once():
    stop = StopRequest()
    with stop.listening(nothing):
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.at_once, stop.after_epoch, stop.status) == (False, True, 130)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest().listening(nothing):
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_thread_cannot_listen_and_does_not_mind():
    reached = []

    def listen():
        with StopRequest().listening(nothing):
            reached.append(True)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert reached
