"""The environment, read once into `Settings`: every fault at once, nothing misspelt ignored, no secret repeated.

`OPTIONS` is the one list of what may be set; docs/configuration.md is held to it by a test.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx

from autoheal.errors import ConfigError, Fault
from autoheal.redaction import DEFAULT_NAMES, HiddenNames

PREFIX = "AUTOHEAL_"
MAX_SECRET_BYTES = 64 * 1024
HINT_RATIO = 0.8
"""How alike (difflib's ratio) an unknown name and an option must be before one is taken for the other."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Times are seconds; paths are as given, relative to the working directory."""

    enabled: bool
    dry_run: bool
    rules: Path
    data_dir: Path
    key_dir: Path | None
    redact: HiddenNames
    host: str
    port: int
    insecure: bool
    alert_allowlist: tuple[Network, ...]
    alertmanager_urls: tuple[str, ...] = field(repr=False)

    @property
    def keys(self) -> Path:
        """Where this installation's own keys lie; in the data directory unless `AUTOHEAL_KEY_DIR` says otherwise."""
        return self.key_dir or self.data_dir / "keys"

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Option:
    """One variable. `parse` takes its text and raises ValueError that says what is allowed.

    `setting` is its field of Settings, or empty for one that has a single value in this version: a file of variables
    that several versions share may name it. A `secret` may also come from the file that `NAME_FILE` names, and its
    value stands in no message.
    """

    name: str
    setting: str
    default: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False


def load(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` asks for. An empty value counts as not set.

    Raises ConfigError with every fault: the variable, what is wrong with it and what is allowed.
    """
    faults = _unknown(environ)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        try:
            value = _value(option, environ)
        except ConfigError as error:
            faults += error.faults
        else:
            values |= {option.setting: value} if option.setting else {}
    if {"host", "insecure"} <= values.keys() and not values["insecure"] and not is_loopback(values["host"]):
        what = (
            f"{values['host']} is not a loopback address: whoever reaches it could see alerts and make rules act."
            " Listen on 127.0.0.1, ::1 or localhost, or set AUTOHEAL_INSECURE=true when something else keeps"
            " strangers out"
        )
        faults.append(Fault("AUTOHEAL_HOST", what))
    if faults:
        raise ConfigError(faults)
    return Settings(**values)


def load_one(environ: Mapping[str, str], setting: str) -> Any:
    """The one field `setting` of Settings, whatever is wrong with others. Raises ConfigError when it is faulty."""
    (option,) = (option for option in OPTIONS if option.setting == setting)
    return _value(option, environ)


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a literal loopback address. No other name is: who resolves it may lie."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _value(option: Option, environ: Mapping[str, str]) -> Any:
    try:
        return option.parse(_given(option, environ))
    except ValueError as error:
        hint = _service_link(option.name) if environ.get(option.name, "").startswith("tcp://") else ""
        raise ConfigError([Fault(option.name, f"{error}{hint}")]) from None


def _given(option: Option, environ: Mapping[str, str]) -> str:
    """The option's text from its variable, its file or its default."""
    value = environ.get(option.name, "").strip()
    path = environ.get(f"{option.name}_FILE", "").strip() if option.secret else ""
    if value and path:
        raise ValueError(f"is set twice: by itself and by {option.name}_FILE")
    return (_read(path) if path else value) or option.default


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"the file {path!r} that it comes from cannot be read: {reason}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"the file {path!r} that it comes from is larger than {MAX_SECRET_BYTES:,} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"the file {path!r} that it comes from is not UTF-8") from None
    if not text:
        # A mount that has not arrived yet must not pass for "not wanted".
        raise ValueError(f"the file {path!r} that it comes from is empty")
    return text


def _unknown(environ: Mapping[str, str]) -> list[Fault]:
    """A misspelt switch that was ignored could leave a gateway live that was meant to be dry."""
    known = {option.name for option in OPTIONS} | {f"{option.name}_FILE" for option in OPTIONS if option.secret}
    faults = []
    for name in sorted(environ):
        if name in known or not name.startswith(PREFIX) or not environ[name].strip():
            continue
        hint = _service_link(name) or _meant_name(name) or "; docs/configuration.md lists what is"
        faults.append(Fault(name if name.isprintable() else repr(name), f"not known to this version{hint}"))
    return faults


def _meant_name(name: str) -> str:
    """The option that `name` is a slip of the pen for: none beats one that would do the opposite."""
    stem = name.removeprefix(PREFIX).removesuffix("_FILE")
    options = {option.name.removeprefix(PREFIX): option.name for option in OPTIONS}
    for close in difflib.get_close_matches(stem, options, n=1, cutoff=HINT_RATIO):
        # SECURE and INSECURE, NO_DRY_RUN and DRY_RUN: what stands before a word turns it into its contrary.
        if close == stem or not (close.endswith(stem) or stem.endswith(close)):
            return f"; did you mean {options[close]}?"
    return ""


_SERVICE_LINK = re.compile(PREFIX + r"(SERVICE_HOST|SERVICE_PORT.*|PORT(_[0-9]+_.*)?)")


def _service_link(name: str) -> str:
    """Why `name` may be there: Kubernetes gives every pod such variables of each Service, one named autoheal too."""
    if _SERVICE_LINK.fullmatch(name) is None:
        return ""
    return "; Kubernetes sets it for a Service named autoheal: set enableServiceLinks: false for the pod"


# ---- parsers: text in, value out, ValueError for people ----


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
        case _:
            raise ValueError(f"{_shown(text)} is neither true (1, yes, on) nor false (0, no, off)")


def _off(because: str) -> Callable[[str], bool]:
    """Of a switch that later versions have."""

    def parse(text: str) -> bool:
        if _boolean(text):
            raise ValueError(f"{because}; leave it unset or false")
        return False

    return parse


def _only(value: str, because: str) -> Callable[[str], str]:
    """Of a choice that later versions have."""

    def parse(text: str) -> str:
        if text.lower() != value:
            raise ValueError(f"{because}; leave it unset or {value}")
        return value

    return parse


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path holds no NUL")
    return Path(text)


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) is None or not 1 <= int(text) <= 65535:
        raise ValueError(f"{_shown(text)} is not a port: a whole number from 1 to 65535")
    return int(text)


def _host(text: str) -> str:
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


def _names(text: str) -> HiddenNames:
    items = _items(text)
    for item in items:
        # Taken for one name, `password token` would hide neither.
        if re.search(r"""[\s;"']""", item):
            raise ValueError(f"{_shown(item)} is not a name: commas stand between names, and no quotes around them")
    return HiddenNames(items)


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for item in _items(text):
        try:
            networks.append(ip_network(item))
        except ValueError:
            raise ValueError(f"{_shown(item)} is not a network such as 10.0.0.0/8 or fd00::/8{_meant(item)}") from None
    return tuple(networks)


def _meant(item: str) -> str:
    try:
        return f"; did you mean {ip_network(item, strict=False)}?"
    except ValueError:
        return ""


def _urls(text: str) -> tuple[str, ...]:
    """Addresses may carry credentials, so a fault tells which one by its place."""
    items = _items(text)
    for place, item in enumerate(items, 1):
        which = f"address {place} of {len(items)}"
        try:
            url = httpx.URL(item)
        except (httpx.InvalidURL, ValueError):
            raise ValueError(f"{which} is not a URL such as http://alertmanager:9093") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{which} must start with http:// or https:// and a host")
        if url.port is not None and not 1 <= url.port <= 65535:
            raise ValueError(f"{which} has a port that is not from 1 to 65535")
        if url.query or url.fragment:
            raise ValueError(f"{which} must end with the path: no ? and no #")
    return tuple(items)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


OPTIONS: Sequence[Option] = (
    Option("AUTOHEAL_ENABLED", "enabled", "true", _boolean, "`false`: alerts are recorded, and no rule is asked."),
    Option("AUTOHEAL_DRY_RUN", "dry_run", "true", _boolean, "`true`: every live rule is a dry run, whatever it says."),
    Option("AUTOHEAL_RULES", "rules", "rules.yaml", _path, "The rules: a YAML file, or a folder of them."),
    Option(
        "AUTOHEAL_DATA_DIR",
        "data_dir",
        "./data",
        _path,
        "Where the service keeps its data; the log is `audit.jsonl` in it.",
    ),
    Option(
        "AUTOHEAL_KEY_DIR",
        "key_dir",
        "",
        _optional_path,
        "Where the installation's own keys lie, made at the first start. Empty: `keys` in the data directory.",
    ),
    Option(
        "AUTOHEAL_REDACT",
        "redact",
        ",".join(DEFAULT_NAMES),
        _names,
        "Names of labels and annotations, comma-separated, `*` for any characters: their values are hidden at intake.",
    ),
    Option(
        "AUTOHEAL_HOST",
        "host",
        "127.0.0.1",
        _host,
        "The address to listen on. Other than loopback needs `AUTOHEAL_INSECURE=true`.",
    ),
    Option("AUTOHEAL_PORT", "port", "9009", _port, "The port to listen on, 1 to 65535."),
    Option(
        "AUTOHEAL_INSECURE",
        "insecure",
        "false",
        _boolean,
        "`true` allows an `AUTOHEAL_HOST` that other machines can reach.",
    ),
    Option(
        "AUTOHEAL_ALERT_ALLOWLIST",
        "alert_allowlist",
        "",
        _networks,
        "Networks, comma-separated, that may `POST /alert`. Empty: all.",
    ),
    Option(
        "ALERTMANAGER_URL",
        "alertmanager_urls",
        "",
        _urls,
        "Alertmanager's addresses, comma-separated; may carry a path prefix and `user:password@`.",
        secret=True,
    ),
    Option(
        "AUTOHEAL_JOURNAL",
        "",
        "file",
        _only("file", "this version keeps its log in a file, and nowhere else"),
        "Where the log lives: this version knows `file` alone.",
    ),
    Option(
        "AUTOHEAL_WEBHOOK_AUTH",
        "",
        "none",
        _only("none", "this version asks Alertmanager for no credential; AUTOHEAL_ALERT_ALLOWLIST says who may post"),
        "What `POST /alert` asks for: this version knows `none` alone.",
    ),
    Option(
        "AUTOHEAL_EVENTS_AUTH",
        "",
        "false",
        _off("this version has no identities: /events shows strangers what happens, without labels and details"),
        "`true` is refused: this version has no identities.",
    ),
    Option(
        "OIDC_ENABLED",
        "",
        "false",
        _off("this version has no OIDC: the sensitive routes answer on loopback only"),
        "`true` is refused: this version has no OIDC.",
    ),
)
"""Every variable that this version reads."""
