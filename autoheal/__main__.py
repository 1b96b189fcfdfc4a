"""`autoheal`, and `python -m autoheal`."""

import gc
import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["serve"]:
        # What is imported below takes a fifth of a second, and a supervisor may send a reload as soon as there is a
        # process: it would kill. No rules are loaded yet that could be loaded again; `serve` takes the signal over.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Of what a start makes hardly anything is garbage, and looking for some takes a tenth of it. Who has started looks.
    gc.disable()
    from autoheal.cli import main as run  # noqa: PLC0415 what it imports counts most

    return run()


if __name__ == "__main__":
    sys.exit(main())
