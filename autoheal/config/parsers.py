"""What each kind of setting may be: text in, value out, ValueError for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import httpx

from autoheal.redaction import HiddenNames
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
            raise ValueError(f"{_shown(text)} is neither true (1, yes, on) nor false (0, no, off)")


def off(because: str) -> Callable[[str], bool]:
    """A switch that only later versions can turn on."""

    def parse(text: str) -> bool:
        if boolean(text):
            raise ValueError(f"{because}; leave it unset or false")
        return False

    return parse


def only(value: str, because: str) -> Callable[[str], str]:
    """A choice of which only later versions have more than `value`."""

    def parse(text: str) -> str:
        if text.lower() != value:
            raise ValueError(f"{because}; leave it unset or {value}")
        return value

    return parse


def path(text: str) -> Path:
    """A file or a folder, which need not exist."""
    if "\0" in text:
        raise ValueError("a path holds no NUL")
    return Path(text)


def port(text: str) -> int:
    """A TCP port."""
    if re.fullmatch(r"[0-9]{1,5}", text) is None or not 1 <= int(text) <= 65535:
        raise ValueError(f"{_shown(text)} is not a port: a whole number from 1 to 65535")
    return int(text)


def host(text: str) -> str:
    """An address or a name to listen on."""
    try:
        return str(ip_address(text))
    except ValueError:
        if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", text):
            return text
        raise ValueError(
            f"{_shown(text)} is no address to listen on: an IP address without brackets or port, or a host name"
        ) from None


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def names(text: str) -> HiddenNames:
    """Patterns of names, with commas between them."""
    items = _items(text)
    for item in items:
        # Taken for one name, `password token` would hide neither.
        if re.search(r"""[\s;"']""", item):
            raise ValueError(f"{_shown(item)} is not a name: commas stand between names, and no quotes around them")
    return HiddenNames(items)


def optional_path(text: str) -> Path | None:
    """A path, or None for nothing."""
    return path(text) if text else None


def networks(text: str) -> tuple[Network, ...]:
    """Networks, with commas between them; an address is a network of one."""
    found: list[Network] = []
    for item in _items(text):
        try:
            found.append(ip_network(item))
        except ValueError:
            raise ValueError(f"{_shown(item)} is not a network such as 10.0.0.0/8 or fd00::/8{_meant(item)}") from None
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
        raise ValueError(f"{_shown(text)} is not a size: a whole number of bytes, or with KiB, MiB, GiB or TiB")
    return int(found[1]) << 10 * ("B", "KiB", "MiB", "GiB", "TiB").index(found[2] or "B")


def duration(text: str) -> float:
    """Seconds, one at least, written as in rules."""
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError(f"{_shown(text)} is shorter than 1s")
    return seconds


def urls(text: str) -> tuple[str, ...]:
    """Addresses, with commas between them. They may carry credentials: a fault names one by its place."""
    items = _items(text)
    for place, item in enumerate(items, 1):
        which = f"address {place} of {len(items)}"
        url = _url(item, which)
        if url.query or url.fragment:
            raise ValueError(f"{which} must end with the path: no ? and no #")
    return tuple(items)


def optional_url(text: str) -> str | None:
    """An address, or None for nothing. It may carry credentials: no fault repeats it."""
    if text:
        _url(text, "this address")
    return text or None


def hosts(text: str) -> tuple[str, ...]:
    """Names and addresses of hosts, with commas between them and `*` for a piece of one."""
    items = _items(text)
    for item in items:
        if not re.fullmatch(r"[A-Za-z0-9*._:-]+", item) or not re.search("[A-Za-z0-9]", item):
            raise ValueError(f"{_shown(item)} is not a host such as db1.example.org, web-*.example.org or 10.0.0.*")
    return tuple(items)


def docker_host(text: str) -> str:
    """The address of a Docker Engine."""
    parse_engine(text)
    return text


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


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
