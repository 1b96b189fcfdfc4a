"""Alertmanager's API v2: which alerts fire now, according to every Alertmanager that was named.

An alert fires if any of them says so and has ended only if all of them answer and none lists it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
import orjson

from autoheal.clock import Clock
from autoheal.model import Alert, AlertStatus, parse_rfc3339
from autoheal.wire import Faults, excerpt, read_alert, read_fingerprint

TIMEOUT_SECONDS = 5.0
"""From the first request to the last byte: a server that drips its answer is cut as well."""
MAX_BODY_BYTES = 32 * 1024 * 1024
UNREADABLE_NAMED = 3
SETTLED_SECONDS = 300.0
"""How long an Alertmanager must have been up before what it does not list has ended. It does not keep alerts over a
restart; Prometheus sends firing ones again at least once a minute (`--rules.alert.resend-delay`).
"""

_Params = tuple[tuple[str, str], ...]

Verdict = Literal["firing", "silenced", "ended", "unknown"]

_CLASSIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Seen:
    """A firing alert as the API lists it; silenced or inhibited only where every Alertmanager that lists it agrees."""

    alert: Alert
    silenced: bool
    inhibited: bool


@dataclass(frozen=True, slots=True)
class Poll:
    """What all Alertmanagers together answered. A poll with filters knows nothing of alerts that they leave out.

    `unreadable` are the fingerprints of listed alerts that cannot be taken (too large for a record, no labels …).
    `answered` is whether all gave a usable answer; `errors` says who did not, and why, and which alerts are unreadable.
    `uptime` is that of the youngest, in seconds by its own clock; None when one did not tell.
    """

    alerts: Mapping[str, Seen] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    answered: bool = False
    errors: tuple[str, ...] = ()
    uptime: float | None = None

    def verdict(self, fingerprint: str, settled: float = SETTLED_SECONDS) -> Verdict:
        """How the alert stands. When it is `firing` or `silenced`, `alerts` holds it.

        `ended` is certain: all answered, none lists it, and the youngest has been up for `settled` seconds.
        """
        seen = self.alerts.get(fingerprint)
        if seen is not None:
            return "silenced" if seen.silenced else "firing"
        certain = self.answered and self.uptime is not None and self.uptime >= settled
        return "ended" if certain and fingerprint not in self.unreadable else "unknown"


class Alertmanager:
    """The Alertmanagers at `urls`, asked through `client`.

    A URL may carry a path prefix and `user:password@`, which no error and no log line repeats.
    """

    def __init__(
        self,
        urls: Sequence[str],
        client: httpx.AsyncClient,
        *,
        clock: Clock,
        timeout: float = TIMEOUT_SECONDS,
        max_body: int = MAX_BODY_BYTES,
    ) -> None:
        self._peers = [_Peer(url, client, clock, timeout, max_body) for url in urls]

    async def poll(self, *, filters: Sequence[str] = (), receiver: str | None = None) -> Poll:
        """Ask all of them at once for what fires, silenced and inhibited alerts included.

        `filters` are matchers (see `matcher_filters`), all of which must hold; `receiver` is a regular expression,
        anchored by Alertmanager, as a notification's `receiver` is. Raises for no answer: what is wrong is in `errors`.
        """
        answers = await asyncio.gather(*(peer.ask(filters, receiver) for peer in self._peers))
        merged: dict[str, Seen] = {}
        for answer in answers:
            for fingerprint, seen in answer.alerts.items():
                merged[fingerprint] = _merge(merged.get(fingerprint), seen)
        uptimes = [answer.uptime for answer in answers if answer.uptime is not None]
        return Poll(
            alerts=merged,
            unreadable=frozenset().union(*(answer.unreadable for answer in answers)) - merged.keys(),
            answered=bool(answers) and all(answer.listed for answer in answers),
            errors=tuple(error for answer in answers for error in answer.errors),
            uptime=min(uptimes) if answers and len(uptimes) == len(answers) else None,
        )


def matcher_filters(labels: Mapping[str, str]) -> list[str]:
    """Matchers for the API's `filter` that hold for exactly these labels: `name="value"`.

    Names outside the classic alphabet are quoted, the others are not: Alertmanager 0.25 takes no quoted name at all.
    """
    return [f"{name if _CLASSIC_NAME.fullmatch(name) else _quoted(name)}={_quoted(labels[name])}" for name in labels]


def _quoted(text: str) -> str:
    # The only escapes that Alertmanager's matcher grammars, old and new, agree on.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _date(text: str | None) -> float | None:
    """An HTTP date (RFC 9110 section 5.6.7) in epoch seconds; None for anything else."""
    try:
        parsed = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return None if parsed.tzinfo is None else parsed.timestamp()


def _merge(first: Seen | None, second: Seen) -> Seen:
    if first is None:
        return second
    return Seen(first.alert, first.silenced and second.silenced, first.inhibited and second.inhibited)


@dataclass(slots=True)
class _Answer:
    alerts: dict[str, Seen] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    listed: bool = False
    uptime: float | None = None
    errors: list[str] = field(default_factory=list)


class _Unusable(Exception):
    """Why an answer cannot be used, for people."""


class _Peer:
    """One Alertmanager."""

    def __init__(self, url: str, client: httpx.AsyncClient, clock: Clock, timeout: float, max_body: int) -> None:
        parsed = httpx.URL(url)
        # Credentials leave the URL here: httpx logs the URLs that it asks, and its errors may name them.
        self._auth = httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None
        self._base = parsed.copy_with(userinfo=b"", path=parsed.path.rstrip("/") + "/api/v2/")
        self._name = str(parsed.copy_with(userinfo=b""))
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._max_body = max_body

    async def ask(self, filters: Sequence[str], receiver: str | None) -> _Answer:
        answer = _Answer()
        params = [(name, "true") for name in ("active", "silenced", "inhibited", "unprocessed")]
        params += [("filter", matcher) for matcher in filters]
        params += [("receiver", receiver)] if receiver is not None else []
        await asyncio.gather(self._list(answer, tuple(params)), self._status(answer))
        return answer

    async def _list(self, answer: _Answer, params: _Params) -> None:
        try:
            self._read(answer, (await self._get("alerts", params))[0])
        except _Unusable as error:
            answer.errors.append(f"{self._name} (alerts): {error}")

    async def _status(self, answer: _Answer) -> None:
        try:
            raw, date = await self._get("status", ())
            # By its own clock: were ours minutes ahead, one that has just started would seem to have settled.
            now = self._clock.now() if date is None else date
            answer.uptime = max(0.0, now - parse_rfc3339(raw["uptime"]))  # a Date is whole seconds
        except _Unusable as error:
            answer.errors.append(f"{self._name} (status): {error}")
        except (TypeError, KeyError, ValueError, OverflowError):
            answer.errors.append(f"{self._name} (status): does not tell its uptime")

    def _read(self, answer: _Answer, raw: Any) -> None:
        if not isinstance(raw, list):
            raise _Unusable(f"answered {excerpt(raw)} and not a list of alerts")
        for index, item in enumerate(raw):
            self._take(answer, index, item)
        if (more := len(answer.unreadable) - UNREADABLE_NAMED) > 0:
            answer.errors.append(f"{self._name} (alerts): {more:,} more alerts cannot be read")
        answer.listed = True

    def _take(self, answer: _Answer, index: int, item: Any) -> None:
        """Add a listed alert. One that cannot be read spoils the others only when nobody knows which it is."""
        fields: dict[str, Any] = item if isinstance(item, dict) else {}
        fingerprint = read_fingerprint(fields.get("fingerprint"))
        status = fields.get("status")
        if fingerprint is None or not isinstance(status, dict):
            raise _Unusable(f"alert {index} has no fingerprint or no status")
        faults = Faults()
        alert = read_alert(item, f"alert {fingerprint}", faults, AlertStatus.FIRING)
        if alert is None:
            answer.unreadable.add(fingerprint)
            if len(answer.unreadable) <= UNREADABLE_NAMED:
                answer.errors.append(f"{self._name} (alerts): {faults.texts()[0]}")
        else:
            answer.alerts[fingerprint] = Seen(alert, bool(status.get("silencedBy")), bool(status.get("inhibitedBy")))

    async def _get(self, path: str, params: _Params) -> tuple[Any, float | None]:
        """The answer's JSON, and what the server's clock said (epoch seconds) if it told."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream(
                    "GET",
                    self._base.join(path),
                    params=params,
                    auth=self._auth,
                    follow_redirects=False,
                    timeout=self._timeout,
                ) as response,
            ):
                if response.status_code != 200:
                    raise _Unusable(f"answered {response.status_code}")
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._max_body:
                        raise _Unusable(f"answered more than {self._max_body:,} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise _Unusable(f"did not answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Unusable(str(error) or type(error).__name__) from None
        try:
            return orjson.loads(body), _date(response.headers.get("Date"))
        except orjson.JSONDecodeError:
            raise _Unusable("did not answer JSON") from None
