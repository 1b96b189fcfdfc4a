"""A gateway to which a signal comes at one exact point: `signalled.py SIGNAL MODULE:NAME`, e.g. `autoheal.app:build`.

It is `autoheal serve`, and sends itself the signal the first time that NAME, a function or a method, is entered;
`<module>` is its import.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from types import FrameType

from autoheal.__main__ import main


def send_on_entry(number: signal.Signals, module: str, name: str) -> None:
    """Watch this thread's calls for the one in question."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    path = spec.origin

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == path and frame.f_code.co_qualname == name:
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    sys.setprofile(watch)


if __name__ == "__main__":
    point, _, name = sys.argv[2].partition(":")
    send_on_entry(signal.Signals[sys.argv[1]], point, name)
    sys.argv[1:] = ["serve"]
    sys.exit(main())
