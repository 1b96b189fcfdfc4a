"""The one list of what may be set; docs/configuration.md is held to it by a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoheal.config import oidc, parsers
from autoheal.redaction import DEFAULT_NAMES


@dataclass(frozen=True, slots=True)
class Option:
    """One variable. `parse` takes its text and raises ValueError that says what is allowed.

    `setting` is its field of Settings (`oidc_` and `jwks_` ones go into its `oidc`), or empty for one that has a
    single value in this version: a file of variables that several versions share may name it. A `secret` may also come
    from the file that `NAME_FILE` names, and its value stands in no message.
    """

    name: str
    setting: str
    default: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False


OPTIONS: Sequence[Option] = (
    Option(
        "AUTOHEAL_ENABLED", "enabled", "true", parsers.boolean, "`false`: alerts are recorded, and no rule is asked."
    ),
    Option(
        "AUTOHEAL_DRY_RUN",
        "dry_run",
        "true",
        parsers.boolean,
        "`true`: every live rule, and every one with `mode: approve`, is a dry run, whatever it says.",
    ),
    Option(
        "AUTOHEAL_MAX_RUNNING",
        "max_running",
        "32",
        parsers.whole(1, 1000),
        "How many live runs may be at work at the same time, from the decision to the verdict.",
    ),
    Option("AUTOHEAL_RULES", "rules", "rules.yaml", parsers.path, "The rules: a YAML file, or a folder of them."),
    Option(
        "AUTOHEAL_DATA_DIR",
        "data_dir",
        "./data",
        parsers.path,
        "Where the service keeps its data; the log is `audit.jsonl` in it.",
    ),
    Option(
        "AUTOHEAL_KEY_DIR",
        "key_dir",
        "",
        parsers.optional_path,
        "Where the installation's own keys lie, made at the first start. Empty: `keys` in the data directory.",
    ),
    Option(
        "AUTOHEAL_AUDIT_MIN_FREE",
        "audit_min_free",
        "64MiB",
        parsers.size,
        "With less space than this on the log's disk no new live run begins; a number of bytes, KiB, MiB or GiB.",
    ),
    Option(
        "AUTOHEAL_AUDIT_ENCRYPT",
        "audit_encrypt",
        "",
        parsers.recipients,
        "age public keys (`age1…`), comma-separated, to which rotated files of the log are encrypted. Empty: none is.",
    ),
    Option(
        "AUTOHEAL_AUDIT_IDENTITY",
        "audit_identity",
        "",
        parsers.identities,
        "The age private key, or several, one a line, with which `/audit` and `autoheal audit` read such files.",
        secret=True,
    ),
    Option(
        "AUTOHEAL_CHECKPOINT_URL",
        "checkpoint_url",
        "",
        parsers.optional_url,
        "An address to which each checkpoint of the log is posted; may carry a query and `user:password@`.",
        secret=True,
    ),
    Option(
        "AUTOHEAL_REDACT",
        "redact",
        ",".join(DEFAULT_NAMES),
        parsers.names,
        "Names of labels and annotations, comma-separated, `*` for any characters: their values are hidden at intake.",
    ),
    Option(
        "AUTOHEAL_HOST",
        "host",
        "127.0.0.1",
        parsers.host,
        "The address to listen on. Other than loopback needs `OIDC_ENABLED=true` or `AUTOHEAL_INSECURE=true`.",
    ),
    Option("AUTOHEAL_PORT", "port", "9009", parsers.port, "The port to listen on, 1 to 65535."),
    Option(
        "AUTOHEAL_INSECURE",
        "insecure",
        "false",
        parsers.boolean,
        "`true` allows an `AUTOHEAL_HOST` that other machines can reach without `OIDC_ENABLED`.",
    ),
    Option(
        "AUTOHEAL_LOG_FORMAT",
        "log_format",
        "auto",
        parsers.choice("auto", "json", "console"),
        "How the service's own log is written: `json`, `console` for people, or `auto`: `console` on a terminal.",
    ),
    Option(
        "AUTOHEAL_LOG_LEVEL",
        "log_level",
        "info",
        parsers.choice("debug", "info", "warning", "error"),
        "The least of the service's own log: `debug`, `info`, `warning` or `error`.",
    ),
    Option(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "otlp_endpoint",
        "",
        parsers.optional_url,
        "The OpenTelemetry collector that is told traces (OTLP over HTTP), such as `http://collector:4318`.",
        secret=True,
    ),
    Option(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "otlp_headers",
        "",
        parsers.otlp_headers,
        "Headers for it, as `name=value` with commas between, values percent-encoded.",
        secret=True,
    ),
    Option(
        "AUTOHEAL_ALERT_ALLOWLIST",
        "alert_allowlist",
        "",
        parsers.networks,
        "Networks, comma-separated, that may `POST /alert`. Empty: all.",
    ),
    Option(
        "ALERTMANAGER_URL",
        "alertmanager_urls",
        "",
        parsers.urls,
        "Alertmanager's addresses, comma-separated; may carry a path prefix and `user:password@`.",
        secret=True,
    ),
    Option(
        "AUTOHEAL_ESCALATE_TO_ALERTMANAGER",
        "escalate_to_alertmanager",
        "true",
        parsers.boolean,
        "`true`: what is left to people fires there as `AutohealFailed` while its alert does; `false`: it does not.",
    ),
    Option(
        "SLACK_ALERTING_ENABLED",
        "slack_enabled",
        "false",
        parsers.boolean,
        "`true`: people are told in Slack, by `SLACK_WEBHOOK_URL`.",
    ),
    Option(
        "SLACK_WEBHOOK_URL",
        "slack_webhook_url",
        "",
        parsers.secret_url,
        "The address of a Slack incoming webhook. Whoever knows it can post there: it is a secret.",
        secret=True,
    ),
    Option(
        "SLACK_MAX_ALERTS_PER_HOUR",
        "slack_limit",
        "10",
        parsers.whole(1, 1000),
        "How many messages Slack gets in any hour; what is more comes in one digest when the hour allows it.",
    ),
    Option(
        "SLACK_TIMEOUT_SECONDS", "slack_timeout", "10", parsers.whole(1, 60), "How long Slack may take for one answer."
    ),
    Option(
        "PAGERDUTY_ROUTING_KEY",
        "pagerduty_key",
        "",
        parsers.routing_key,
        "The integration key of a PagerDuty service (Events API v2). Empty: PagerDuty is not told.",
        secret=True,
    ),
    Option(
        "PAGERDUTY_URL",
        "pagerduty_url",
        "https://events.pagerduty.com/v2/enqueue",
        parsers.trusted_url,
        "Where PagerDuty takes events; in the EU `https://events.eu.pagerduty.com/v2/enqueue`.",
    ),
    Option(
        "NOTIFY_WEBHOOK_URL",
        "notify_webhook_url",
        "",
        parsers.optional_url,
        "A webhook of yours that is told everything; may carry a query and `user:password@`.",
        secret=True,
    ),
    Option(
        "NOTIFY_WEBHOOK_SECRET",
        "notify_webhook_secret",
        "",
        parsers.webhook_secret,
        "By what it knows that autoheal sends (Standard Webhooks): `echo whsec_$(openssl rand -base64 32)` makes one.",
        secret=True,
    ),
    Option(
        "NOTIFY_APPRISE_URLS",
        "notify_apprise_urls",
        "",
        parsers.apprise_urls,
        "Further channels: addresses of the library Apprise, white space between them. Needs `autoheal[apprise]`.",
        secret=True,
    ),
    Option(
        "NOTIFY_KEY_ERRORS",
        "notify_key_errors",
        "true",
        parsers.boolean,
        "`true`: people are told when the identity provider's keys cannot be fetched.",
    ),
    Option(
        "NOTIFY_RETRIES",
        "notify_retries",
        "false",
        parsers.boolean,
        "`true`: already a first attempt that failed is told, of a fetch of the keys or of a message.",
    ),
    Option(
        "AUTOHEAL_WATCHDOG",
        "watchdog",
        "",
        parsers.watchdog,
        'Matchers of an alert that always fires, such as `alertname="Watchdog"`: people hear when it stays away.',
    ),
    Option(
        "AUTOHEAL_WATCHDOG_AFTER",
        "watchdog_after",
        "10m",
        parsers.duration,
        "How long that alert may stay away; longer than the `repeat_interval` of its route.",
    ),
    Option(
        "PROMETHEUS_URL",
        "prometheus_urls",
        "",
        parsers.urls,
        "Prometheus's addresses, comma-separated; may carry a path prefix and `user:password@`.",
        secret=True,
    ),
    Option(
        "GRAFANA_URL",
        "grafana_url",
        "",
        parsers.link,
        "Where people have Grafana: the console links to it. autoheal itself never asks it.",
    ),
    Option(
        "AUTOHEAL_SELFTEST_INTERVAL",
        "selftest_interval",
        "15m",
        parsers.interval,
        "How often autoheal tests itself; `off`: never.",
    ),
    Option(
        "AUTOHEAL_SELFTEST_TOKEN_FILE",
        "selftest_token_file",
        "",
        parsers.optional_path,
        "A file with the access token that the self-test shows, read at each; a viewer's is enough. Empty: none.",
    ),
    Option(
        "AUTOHEAL_ACK_MAX",
        "ack_max",
        "24h",
        parsers.duration,
        "The longest time for which `POST /ack` acknowledges an alert.",
    ),
    Option(
        "AUTOHEAL_DOCKER_HOST",
        "docker_host",
        "unix:///var/run/docker.sock",
        parsers.docker_host,
        "The Docker Engine of `docker` steps: `unix:///PATH`, `tcp://HOST:PORT` or, with TLS, `https://HOST:PORT`.",
    ),
    Option(
        "AUTOHEAL_DOCKER_CERT_PATH",
        "docker_certs",
        "",
        parsers.optional_path,
        "A folder with the ca.pem, cert.pem and key.pem for Docker Engines behind TLS. Empty: no certificate of ours.",
    ),
    Option(
        "AUTOHEAL_KUBECONFIG",
        "kubeconfig",
        "",
        parsers.optional_path,
        "The kubeconfig of `kubernetes` steps. Empty: the cluster in whose pod autoheal runs.",
    ),
    Option(
        "AUTOHEAL_SSH_HOSTS",
        "ssh_hosts",
        "",
        parsers.hosts,
        "Hosts that `ssh` steps may reach, comma-separated, `*` for any characters but `.` and `:`. Empty: none.",
    ),
    Option(
        "AUTOHEAL_JOURNAL",
        "",
        "file",
        parsers.only("file", "this version keeps its log in a file, and nowhere else"),
        "Where the log lives: this version knows `file` alone.",
    ),
    Option(
        "AUTOHEAL_WEBHOOK_AUTH",
        "webhook_auth",
        "none",
        parsers.choice("none", "token"),
        "What `POST /alert` asks for: nothing, or a `token` of somebody with the role sender.",
    ),
    Option(
        "AUTOHEAL_EVENTS_AUTH",
        "events_auth",
        "false",
        parsers.boolean,
        "`true`: `/events` is for viewers. `false`: strangers see what happens, without labels and details.",
    ),
    Option(
        "AUTOHEAL_PUBLIC_URL",
        "public_url",
        "",
        parsers.origin,
        "The origin at which browsers reach this service, such as `https://autoheal.example.org`.",
    ),
    Option(
        "OIDC_ENABLED",
        "oidc_enabled",
        "false",
        parsers.boolean,
        "`true`: the sensitive routes ask for a token or a login. `false`: they answer on loopback only.",
    ),
    Option(
        "OIDC_ISSUER",
        "oidc_issuer",
        "",
        oidc.issuer,
        "The identity provider: its issuer, or the address of its `.well-known/openid-configuration`.",
    ),
    Option(
        "OIDC_AUDIENCE", "oidc_audience", "", oidc.word, "What `aud` must hold in a token that is for this service."
    ),
    Option(
        "OIDC_ALLOWED_CLIENTS",
        "oidc_allowed_clients",
        "",
        oidc.words,
        "Clients, comma-separated, whose tokens are taken (`azp`, `client_id`, `appid`, `cid`). Empty: all.",
    ),
    Option(
        "OIDC_ALGORITHMS",
        "oidc_algorithms",
        "RS256,ES256",
        oidc.algorithms,
        f"Signature algorithms, comma-separated, of {', '.join(oidc.ALGORITHMS)}.",
    ),
    Option(
        "OIDC_ROLES_CLAIM",
        "oidc_roles_claim",
        "",
        oidc.claim_path,
        "The claim that holds roles: its name, or a JSON array for a path. Empty: `roles`. Needs `OIDC_ROLE_MAP`.",
    ),
    Option(
        "OIDC_ROLE_MAP",
        "oidc_role_map",
        "",
        oidc.role_map,
        'JSON, the provider\'s role to ours: `{"sre": "operator"}`. Empty: every valid token is an operator.',
    ),
    Option(
        "OIDC_JWKS_URI", "oidc_jwks_uri", "", oidc.optional_address, "Where the keys are. Empty: as discovery tells."
    ),
    Option("OIDC_CLIENT_ID", "oidc_client_id", "", oidc.word, "This service's client, for logins with a browser."),
    Option(
        "OIDC_CLIENT_SECRET",
        "oidc_client_secret",
        "",
        oidc.secret,
        "The client's secret. Empty: a public client, with PKCE alone.",
        secret=True,
    ),
    Option(
        "OIDC_SCOPES",
        "oidc_scopes",
        "openid profile",
        oidc.scopes,
        "What a login asks the provider for, with spaces between; `offline_access`, say, for a refresh token.",
    ),
    Option(
        "JWKS_CACHE_TTL_SECONDS",
        "jwks_cache_ttl",
        "300",
        parsers.whole(1, 86_400),
        "How long fetched keys count as fresh; they are fetched anew a little before.",
    ),
    Option(
        "JWKS_STALE_TTL_SECONDS",
        "jwks_stale_ttl",
        "3600",
        parsers.whole(1, 604_800),
        "How long they are used while new ones cannot be fetched, from the last success; then the answer is 503.",
    ),
    Option(
        "JWKS_REFRESH_TIMEOUT_SECONDS",
        "jwks_refresh_timeout",
        "5",
        parsers.whole(1, 60),
        "How long the identity provider may take for one answer.",
    ),
    Option(
        "JWKS_REFRESH_RETRIES",
        "jwks_refresh_retries",
        "3",
        parsers.whole(0, 10),
        "How often a fetch that failed is tried again at once, with growing pauses.",
    ),
)
"""Every variable that this version reads."""
