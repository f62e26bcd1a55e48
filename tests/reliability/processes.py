"""Work in a child process that may be killed, or that has little disk; only where processes can be forked."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

CAN_FORK = hasattr(os, "fork")


def forked(work: Callable[[], object]) -> int:
    """Start ``work`` in a child process that ends with it, with exit code 0, or 1 if it raised; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def succeeds(work: Callable[[], object]) -> bool:
    """Whether ``work`` ends without an error in a child process."""
    return os.waitpid(forked(work), 0)[1] == 0
