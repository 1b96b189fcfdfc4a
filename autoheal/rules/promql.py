"""PromQL with values in it that somebody else chose: each stands in a quoted string, for itself, and cannot leave it.

A label that holds `"} or vector(1) #` would otherwise say what the query is about (CWE-943).
"""

from __future__ import annotations

import re

from autoheal.errors import RenderError

EDGE = "\0"
"""Stands on both sides of a value in a text for `filled`; neither a template nor a value may hold it."""

_QUOTES = "\"'`"
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")  # what RE2's QuoteMeta escapes


def filled(text: str) -> str:
    """`text` with each value between two `EDGE` escaped as its place demands, behind `=~` and `!~` for RE2 as well.

    Raises RenderError where a value stands outside of a quoted string, behind a backslash or as a text of
    `label_replace`, where a quote is not closed, and where there is nothing.
    """
    scanner = _Scanner()
    made: list[str] = []
    for number, part in enumerate(text.split(EDGE)):
        if number % 2:
            made.append(scanner.value(part))
        else:
            scanner.read(part)
            made.append(part)
    if scanner.quote in tuple(_QUOTES):
        raise RenderError(f"in PromQL a quoted string does not end: there is no second {scanner.quote}")
    whole = "".join(made)
    if not whole.strip():
        raise RenderError("in PromQL an expression cannot be empty")
    return whole


class _Scanner:
    """Where in an expression one is, as Prometheus's lexer sees it. `quote` is what will end that, or nothing."""

    def __init__(self) -> None:
        self.quote = ""
        self._regex = False
        self._escaped = False
        self._before = ""
        self._word, self._gap = "", False
        self._within: list[str] = []
        """What each bracket that is open stands behind; a brace stands for itself."""

    def read(self, text: str) -> None:
        """Go on behind `text`, which the rule's author wrote."""
        for char in text:
            if not self.quote:
                self._outside(char)
            elif self.quote == "#":
                self.quote = "" if char in "\r\n" else "#"
            elif self._escaped:
                self._escaped = False
            elif char == "\\" and self.quote != "`":
                self._escaped = True
            elif char == self.quote:
                self.quote = self._before = ""

    def _outside(self, char: str) -> None:
        if char in _QUOTES:
            self.quote, self._regex = char, self._before in ("=~", "!~")
        elif char == "#":
            self.quote = char
        elif char.isspace():
            self._gap = True
        else:
            self._before = (self._before + char)[-2:]
            self._bracket(char)
            self._gap = False

    def _bracket(self, char: str) -> None:
        if char in "({[":
            self._within.append(self._word if char == "(" else char)
        elif char in ")}]" and self._within:
            self._within.pop()
        known = "" if self._gap else self._word
        self._word = known + char if char.isalnum() or char in "_:" else ""

    def value(self, text: str) -> str:
        """`text`, which anybody may have chosen, as it may stand here."""
        if self.quote not in tuple(_QUOTES):
            raise RenderError('in PromQL a placeholder must stand in a quoted string, as in job="{{ labels.job }}"')
        if self._within and self._within[-1].lower() == "label_replace":
            # One of its texts is a regular expression, and one a template with `$1` in it.
            raise RenderError("in PromQL a placeholder must not stand in a text of label_replace")
        if self._escaped:
            raise RenderError("in PromQL a backslash must not stand before a placeholder")
        if self._regex:
            text = _META.sub(r"\\\g<0>", text)
        if self.quote != "`":
            return text.replace("\\", "\\\\").replace(self.quote, f"\\{self.quote}").replace("\n", "\\n")
        if "`" in text:
            raise RenderError(f"in PromQL a string between backticks cannot hold one: {text[:60]!r}")
        return text
