"""`autoheal`, and `python -m autoheal`."""

import gc
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    # Of what a start makes hardly anything is garbage, and looking for some takes a tenth of it. Who has started looks.
    gc.disable()
    from autoheal.cli import main as run  # noqa: PLC0415 what it imports counts most

    return run()


if __name__ == "__main__":
    sys.exit(main())
