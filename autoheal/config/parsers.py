"""What each kind of setting may be: text in, value out, ValueError for people."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote

import httpx

from autoheal.age import Identities, Recipients
from autoheal.redaction import HiddenNames
from autoheal.rules import Matcher, parse_matchers
from autoheal.rules.address import parse_engine
from autoheal.rules.units import parse_duration

Network = IPv4Network | IPv6Network


def boolean(text: str) -> bool:
    """A switch, in every usual spelling."""
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
        case _:
            raise ValueError(f"{shown(text)} is neither true (1, yes, on) nor false (0, no, off)")


def only(value: str, because: str) -> Callable[[str], str]:
    """A choice of which only later versions have more than `value`."""

    def parse(text: str) -> str:
        if text.lower() != value:
            raise ValueError(f"{because}; leave it unset or {value}")
        return value

    return parse


def choice(*values: str) -> Callable[[str], str]:
    """One of `values`, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError(f"{shown(text)} is none of {', '.join(values)}")
        return text.lower()

    return parse


def path(text: str) -> Path:
    """A file or a folder, which need not exist."""
    if "\0" in text:
        raise ValueError("a path holds no NUL")
    return Path(text)


def port(text: str) -> int:
    """A TCP port."""
    if re.fullmatch(r"[0-9]{1,5}", text) is None or not 1 <= int(text) <= 65535:
        raise ValueError(f"{shown(text)} is not a port: a whole number from 1 to 65535")
    return int(text)


def host(text: str) -> str:
    """An address or a name to listen on."""
    try:
        return str(ip_address(text))
    except ValueError:
        if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", text):
            return text
        raise ValueError(
            f"{shown(text)} is no address to listen on: an IP address without brackets or port, or a host name"
        ) from None


def items(text: str) -> list[str]:
    """What stands between commas, less white space and nothings."""
    return [item for item in (part.strip() for part in text.split(",")) if item]


def names(text: str) -> HiddenNames:
    """Patterns of names, with commas between them."""
    found = items(text)
    for item in found:
        # Taken for one name, `password token` would hide neither.
        if re.search(r"""[\s;"']""", item):
            raise ValueError(f"{shown(item)} is not a name: commas stand between names, and no quotes around them")
    return HiddenNames(found)


def optional_path(text: str) -> Path | None:
    """A path, or None for nothing."""
    return path(text) if text else None


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", text) is None or not low <= int(text) <= high:
            raise ValueError(f"{shown(text)} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def networks(text: str) -> tuple[Network, ...]:
    """Networks, with commas between them; an address is a network of one."""
    found: list[Network] = []
    for item in items(text):
        try:
            found.append(ip_network(item))
        except ValueError:
            raise ValueError(f"{shown(item)} is not a network such as 10.0.0.0/8 or fd00::/8{_meant(item)}") from None
    return tuple(found)


def _meant(item: str) -> str:
    try:
        return f"; did you mean {ip_network(item, strict=False)}?"
    except ValueError:
        return ""


def size(text: str) -> int:
    """A number of bytes."""
    found = re.fullmatch(r"([0-9]{1,15})\s*(|B|KiB|MiB|GiB|TiB)", text)
    if found is None:
        raise ValueError(f"{shown(text)} is not a size: a whole number of bytes, or with KiB, MiB, GiB or TiB")
    return int(found[1]) << 10 * ("B", "KiB", "MiB", "GiB", "TiB").index(found[2] or "B")


def duration(text: str) -> float:
    """Seconds, one at least, written as in rules."""
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError(f"{shown(text)} is shorter than 1s")
    return seconds


def interval(text: str) -> float | None:
    """Seconds from one time to the next, 10 at least; None for `off`, and for no time at all."""
    if text == "off":
        return None
    seconds = parse_duration(text)
    if 0 < seconds < 10:
        raise ValueError(f"{shown(text)} is shorter than 10s")
    return seconds or None


def watchdog(text: str) -> tuple[Matcher, ...]:
    """Matchers of the alert that always fires, in Alertmanager's notation; none for nothing."""
    matchers = parse_matchers(text) if text else ()
    # Whatever they hold for is no alert that rules act on: they must not hold for others by a slip.
    if text and not any(each.name == "alertname" and each.op == "=" and each.value for each in matchers):
        raise ValueError('one of the matchers must be alertname="…", so that no other alert is taken for it')
    return matchers


def urls(text: str) -> tuple[str, ...]:
    """Addresses, with commas between them. They may carry credentials: a fault names one by its place."""
    found = items(text)
    for place, item in enumerate(found, 1):
        which = f"address {place} of {len(found)}"
        url = _url(item, which)
        if url.query or url.fragment:
            raise ValueError(f"{which} must end with the path: no ? and no #")
    return tuple(found)


def optional_url(text: str) -> str | None:
    """An address, or None for nothing. It may carry credentials: no fault repeats it."""
    if text:
        _url(text, "this address")
    return text or None


def trusted_url(text: str) -> str:
    """An address that is told a key: https, or http on this machine."""
    return str(secure_url(text))


def secret_url(text: str) -> str | None:
    """The same where the address itself is the key, or None for nothing."""
    return trusted_url(text) if text else None


def routing_key(text: str) -> str | None:
    """An integration key, or None for nothing. No fault repeats it."""
    if text and re.fullmatch(r"[0-9A-Za-z]{32}", text) is None:
        raise ValueError("this is no integration key of PagerDuty's Events API v2: 32 letters and digits")
    return text or None


def webhook_secret(text: str) -> str | None:
    """24 to 64 bytes in base64, or None for nothing. No fault repeats it."""
    if text:
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not 24 <= len(key) <= 64:
            raise ValueError(
                "this is no secret of the Standard Webhooks kind: 24 to 64 random bytes in base64, as"
                " `echo whsec_$(openssl rand -base64 32)` makes one"
            )
    return text or None


def apprise_urls(text: str) -> tuple[str, ...]:
    """Addresses with white space between them. They hold credentials: a fault names one by its place."""
    found = tuple(text.split())
    for place, item in enumerate(found, 1):
        if re.match(r"[a-z][a-z0-9+.-]*://", item) is None:
            raise ValueError(f"address {place} of {len(found)} is none such as tgram://TOKEN/CHAT")
    return found


def otlp_headers(text: str) -> Mapping[str, str]:
    """Headers as OpenTelemetry's specification has them (W3C Baggage). They hold keys: no fault repeats them."""
    found = {}
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        name, equals, value = item.partition("=")
        value = unquote(value.strip())
        if not equals or re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()) is None:
            raise ValueError(f"header {number} is not name=value")
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the value of header {number} cannot be sent: printable ASCII alone can")
        found[name.strip()] = value
    return found


def link(text: str) -> str | None:
    """An address that browsers are shown, or None for nothing."""
    # Everybody who may look would be told of what it carries.
    if text and _url(text, "this address").userinfo:
        raise ValueError("this address must carry no user and no password")
    return text or None


def hosts(text: str) -> tuple[str, ...]:
    """Names and addresses of hosts, with commas between them and `*` for a piece of one."""
    named = items(text)
    for item in named:
        if not re.fullmatch(r"[A-Za-z0-9*._:-]+", item) or not re.search("[A-Za-z0-9]", item):
            raise ValueError(f"{shown(item)} is not a host such as db1.example.org, web-*.example.org or 10.0.0.*")
    return tuple(named)


def docker_host(text: str) -> str:
    """The address of a Docker Engine."""
    parse_engine(text)
    return text


def recipients(text: str) -> Recipients | None:
    """Public keys, with commas between them, or None for nothing."""
    return Recipients.parse(text) if text else None


def identities(text: str) -> Identities | None:
    """Private keys, one a line, or None for nothing. No fault repeats them."""
    return Identities.parse(text) if text else None


def secure_url(text: str) -> httpx.URL:
    """An address to which secrets and identities may be trusted: https, or http on this machine; no credentials."""
    url = _url(text, "this address")
    if url.scheme != "https" and not is_loopback(url.host):
        raise ValueError("this address must start with https://: only on loopback is http:// allowed")
    if url.userinfo:
        raise ValueError("this address must carry no user and no password")
    if url.fragment or "#" in text:
        raise ValueError("this address must have no #")
    return url


def origin(text: str) -> str | None:
    """Scheme, host and port as a browser's Origin header has them (RFC 6454 section 6.2), or None for nothing."""
    if not text:
        return None
    url = secure_url(text)
    if url.path not in ("", "/") or "?" in text:
        raise ValueError("this address must end with the host or the port: no path and no ?")
    return str(url.copy_with(path="/")).rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a literal loopback address. No other name is: who resolves it may lie."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _url(text: str, which: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise ValueError(f"{which} is not a URL such as http://alertmanager:9093") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{which} must start with http:// or https:// and a host")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ValueError(f"{which} has a port that is not from 1 to 65535")
    return url


def shown(text: str) -> str:
    """`text` for a message: quoted, and not endless."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
