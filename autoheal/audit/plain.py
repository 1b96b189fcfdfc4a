"""Text for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """`text` on one line, with all escaped that could move a cursor, change colours or reorder text.

    What stands in a log, or names a file beside it, may have been put there by whoever forged it.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
