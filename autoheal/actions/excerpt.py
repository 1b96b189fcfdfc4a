"""The beginning and the end of an output of any length."""

from __future__ import annotations

from autoheal.actions.secret import Secrets, unmasked

KEPT_BYTES = 16 * 1024
"""How much of an output is kept. As JSON it takes at most three times as much, so that its record fits 64 KiB."""


class Excerpt:
    """Keeps the first `head` and the last `tail` bytes of what it is fed, secrets hidden.

    A little more is held until the end, so that a secret which the cut goes through is seen whole.
    """

    def __init__(self, secrets: Secrets, *, head: int, tail: int) -> None:
        self._secrets = secrets
        self._head, self._tail = head, tail
        self._first, self._last = bytearray(), bytearray()
        self.total = 0
        """Bytes fed so far."""

    @property
    def full(self) -> bool:
        """Whether more would not change `beginning`."""
        return self.total >= self._head + self._secrets.longest

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = max(0, self._head + self._secrets.longest - len(self._first))
        self._first += data[:room]
        if len(data) > room:
            self._last += data[room:]
            del self._last[: -(self._tail + self._secrets.longest) or None]

    @property
    def cut(self) -> int:
        """Bytes that `text` leaves out."""
        return max(0, self.total - self._head - self._tail)

    def beginning(self) -> str:
        """The first `head` bytes alone."""
        return unmasked(self._secrets.masked(bytes(self._first))[: self._head])

    def text(self) -> str:
        """What is kept; a line in the gap says how many bytes are missing there."""
        if not self.cut:
            return unmasked(self._secrets.masked(bytes(self._first + self._last)))
        first, last = bytes(self._first), bytes(self._last)
        if self.total == len(first) + len(last):
            first = last = first + last
        head = self._secrets.masked(first)[: self._head]
        tail = self._secrets.masked(last)[-self._tail :] if self._tail else b""
        return f"{unmasked(head)}\n[… {self.cut} bytes cut …]\n{unmasked(tail)}"
