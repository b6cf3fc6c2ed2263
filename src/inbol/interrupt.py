"""Being told to stop: a signal asks, the work looks at convenient places, saves, and ends with `Interrupted`.

The asking signals are blocked and taken by a thread of their own, so that no call is cut short. Everything that this process starts
(loader workers, the tracker's service) inherits the blocked mask, so that a signal to all processes of a job ends none of them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

LISTEN = "INBOL_STOP_ON_SIGNAL"
"""Set to 1 by a launcher that lets a stage end early and starts it again; without it, signals do what they always do."""
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

_asked = threading.Event()
_listening = False
_closing: list[Callable[[], None]] = []


class Interrupted(Exception):
    """The work stopped as it was told to, and what was done is saved; the message says how far it was."""


def listen() -> bool:
    """Take the signals from now on, where the launcher wants it. Called by the main thread before any other thread starts."""
    global _listening
    if os.environ.get(LISTEN) != "1":
        return False
    for number in SIGNALS:  # what is inherited may be to ignore them
        signal.signal(number, lambda *_: _asked.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        while True:
            signal.sigwait(SIGNALS)
            _asked.set()

    threading.Thread(target=wait, name="told-to-stop", daemon=True).start()
    _listening = True
    return True


def listening() -> bool:
    """Whether this process can be told to stop; the same on all ranks of a job."""
    return _listening


def asked() -> bool:
    """Whether this process was told to stop."""
    return _asked.is_set()


def stop_here(where: str) -> None:
    """End with `Interrupted` if this process was told to stop; for work that is saved as it is.

    Args:
        where: how far it is, for the log.
    """
    if asked():
        raise Interrupted(where)


def before_end(close: Callable[[], None]) -> None:
    """`close` is called when the process ends early, the last one first."""
    _closing.append(close)


def close_all() -> None:
    """Call what `before_end` was given; one that fails does not keep the others."""
    while _closing:
        with suppress(Exception):
            _closing.pop()()
