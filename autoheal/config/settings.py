"""From the environment to `Settings`, with every fault on the way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoheal.age import Identities, Recipients
from autoheal.config.oidc import OidcSettings, gather
from autoheal.config.options import OPTIONS, Option
from autoheal.config.parsers import Network, is_loopback, origin
from autoheal.errors import ConfigError, Fault
from autoheal.redaction import HiddenNames
from autoheal.rules import Matcher

PREFIX = "AUTOHEAL_"
SHARED_PREFIXES = ("OIDC_", "JWKS_", "SLACK_", "PAGERDUTY_", "NOTIFY_")
"""Of variables that other programs may have too: of these, what is alike to an option is a fault, no other."""
CHANNEL_SETTINGS: Mapping[str, str] = {
    "slack": "slack_enabled",
    "pagerduty": "pagerduty_key",
    "webhook": "notify_webhook_url",
    "apprise": "notify_apprise_urls",
}
"""By channel the field of Settings that says whether it is configured."""
MAX_SECRET_BYTES = 64 * 1024
HINT_RATIO = 0.8
"""How alike (difflib's ratio) an unknown name and an option must be before one is taken for the other."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Times are seconds; paths are as given, relative to the working directory."""

    enabled: bool
    dry_run: bool
    max_running: int
    rules: Path
    data_dir: Path
    key_dir: Path | None
    audit_min_free: int
    audit_encrypt: Recipients | None
    audit_identity: Identities | None = field(repr=False)
    checkpoint_url: str | None = field(repr=False)
    redact: HiddenNames
    host: str
    port: int
    insecure: bool
    log_format: str
    log_level: str
    otlp_endpoint: str | None = field(repr=False)
    otlp_headers: Mapping[str, str] = field(repr=False)
    alert_allowlist: tuple[Network, ...]
    alertmanager_urls: tuple[str, ...] = field(repr=False)
    escalate_to_alertmanager: bool
    slack_enabled: bool
    slack_webhook_url: str | None = field(repr=False)
    slack_limit: int
    slack_timeout: int
    pagerduty_key: str | None = field(repr=False)
    pagerduty_url: str
    notify_webhook_url: str | None = field(repr=False)
    notify_webhook_secret: str | None = field(repr=False)
    notify_apprise_urls: tuple[str, ...] = field(repr=False)
    notify_key_errors: bool
    notify_retries: bool
    watchdog: tuple[Matcher, ...]
    watchdog_after: float
    prometheus_urls: tuple[str, ...] = field(repr=False)
    grafana_url: str | None
    selftest_interval: float | None
    selftest_token_file: Path | None
    ack_max: float
    docker_host: str
    docker_certs: Path | None
    kubeconfig: Path | None
    ssh_hosts: tuple[str, ...]
    webhook_auth: str
    events_auth: bool
    public_url: str | None
    oidc: OidcSettings | None

    @property
    def keys(self) -> Path:
        """Where this installation's own keys lie; in the data directory unless `AUTOHEAL_KEY_DIR` says otherwise."""
        return self.key_dir or self.data_dir / "keys"

    @property
    def address(self) -> str:
        """Host and port as a URL has them: an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels by which people are told, as rules name them."""
        return tuple(name for name, setting in CHANNEL_SETTINGS.items() if getattr(self, setting))

    @property
    def nearest(self) -> str:
        """Host and port at which a program on this machine reaches the service, as a URL has them."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host)  # noqa: S104 told apart, not listened on
        return self.address if host is None else f"{host}:{self.port}"

    @property
    def origin(self) -> str | None:
        """Where browsers reach the service; None when only `AUTOHEAL_PUBLIC_URL` could tell, and does not."""
        return self.public_url or (origin(f"http://{self.address}") if self.on_loopback else None)

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        return is_loopback(self.host)


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
    faults += [*_exposed(values), *_half_a_channel(values)]
    values["oidc"] = gather(values, faults)
    if faults:
        raise ConfigError(faults)
    return Settings(**values)


def _exposed(values: Mapping[str, Any]) -> list[Fault]:
    """Whoever may listen to the world must know who asks, or take it upon himself."""
    # A switch that is faulty itself says so; taken for off, it would add a fault that may not be one.
    if "host" not in values or is_loopback(values["host"]) or values.get("insecure", True):
        return []
    if values.get("oidc_enabled", True):
        return []
    what = (
        f"{values['host']} is not a loopback address: whoever reaches it could see alerts and make rules act."
        " Listen on 127.0.0.1, ::1 or localhost, set OIDC_ENABLED=true so that people log in, or set"
        " AUTOHEAL_INSECURE=true when something else keeps strangers out"
    )
    return [Fault("AUTOHEAL_HOST", what)]


def _half_a_channel(values: Mapping[str, Any]) -> list[Fault]:
    """Whoever sets a part of a channel expects to be told: silence must not pass for peace."""
    faults = []
    if values.get("slack_enabled") and values.get("slack_webhook_url", "faulty") is None:
        what = "is needed for SLACK_ALERTING_ENABLED=true: the address of a Slack incoming webhook"
        faults.append(Fault("SLACK_WEBHOOK_URL", what))
    url, secret = values.get("notify_webhook_url", "faulty"), values.get("notify_webhook_secret", "faulty")
    if url is None and secret is not None:
        faults.append(Fault("NOTIFY_WEBHOOK_URL", "is needed for NOTIFY_WEBHOOK_SECRET: where to post to"))
    if url is not None and secret is None:
        what = "is needed for NOTIFY_WEBHOOK_URL; `echo whsec_$(openssl rand -base64 32)` makes one"
        faults.append(Fault("NOTIFY_WEBHOOK_SECRET", what))
    return faults


def load_one(environ: Mapping[str, str], setting: str) -> Any:
    """The one field `setting` of Settings, whatever is wrong with others. Raises ConfigError when it is faulty."""
    (option,) = (option for option in OPTIONS if option.setting == setting)
    return _value(option, environ)


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
        if name in known or not environ[name].strip():
            continue
        if name.startswith(SHARED_PREFIXES) and (hint := _meant_name(name)):
            faults.append(Fault(name, f"not known to this version{hint}"))
        if not name.startswith(PREFIX):
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
