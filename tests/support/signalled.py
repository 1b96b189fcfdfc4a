"""A gateway to which a signal comes at one exact point: `signalled.py SIGNAL MODULE:NAME`, e.g. `autoheal.app:build`.

It is `autoheal serve`, and sends itself the signal the first time that NAME, a function or a method, is entered.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType

from autoheal.cli import main


def send_on_entry(number: signal.Signals, module: str, name: str) -> None:
    """Watch this thread's calls for the one in question."""
    path = importlib.import_module(module).__file__

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == path and frame.f_code.co_qualname == name:
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    sys.setprofile(watch)


if __name__ == "__main__":
    point, _, name = sys.argv[2].partition(":")
    send_on_entry(signal.Signals[sys.argv[1]], point, name)
    sys.exit(main(["serve"]))
