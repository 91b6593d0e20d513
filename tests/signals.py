"""Signals of the processes that tests start, whatever the test run itself was told to ignore."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def obeying_ctrl_c() -> Iterator[None]:
    """What is started within obeys SIGINT, though this test run may have been told not to.

    A shell starts a job in the background with SIGINT ignored, and a process hands that on to what
    it starts; a signal that has a handler here is reset to its default there instead.
    """
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
