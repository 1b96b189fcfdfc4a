"""Settings: what is read, and that every fault is told at once."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.age import Recipients
from autoheal.config import MAX_SECRET_BYTES, OPTIONS, OidcSettings, Settings, is_loopback, load, load_one
from autoheal.errors import ConfigError
from autoheal.model import CHANNELS, Role
from autoheal.redaction import DEFAULT_NAMES, HiddenNames
from autoheal.rules import parse_matchers
from tests.support.secrecy import IDENTITIES, OTHER_PUBLIC, PRIVATE, PUBLIC

OIDC = {"OIDC_ENABLED": "true", "OIDC_ISSUER": "https://idp.example", "OIDC_AUDIENCE": "autoheal"}
SLACK_URL = "https://hooks.slack.com/services/T0/B0/x"
WEBHOOK_SECRET = "whsec_" + "A" * 32
DOCS = Path(__file__).parent.parent / "docs" / "configuration.md"


def faults(**environ: str) -> dict[str, str]:
    """What `load` says of `environ`, by variable."""
    with pytest.raises(ConfigError) as caught:
        load(environ)
    return {fault.where: fault.what for fault in caught.value.faults}


def test_defaults_are_safe() -> None:
    """An empty environment gives a dry run on loopback."""
    assert load({}) == Settings(
        enabled=True,
        dry_run=True,
        max_running=32,
        rules=Path("rules.yaml"),
        data_dir=Path("data"),
        redact=HiddenNames(DEFAULT_NAMES),
        key_dir=None,
        audit_min_free=64 * 2**20,
        audit_encrypt=None,
        audit_identity=None,
        checkpoint_url=None,
        host="127.0.0.1",
        port=9009,
        insecure=False,
        log_format="auto",
        log_level="info",
        otlp_endpoint=None,
        otlp_headers={},
        alert_allowlist=(),
        alertmanager_urls=(),
        escalate_to_alertmanager=True,
        slack_enabled=False,
        slack_webhook_url=None,
        slack_limit=10,
        slack_timeout=10,
        pagerduty_key=None,
        pagerduty_url="https://events.pagerduty.com/v2/enqueue",
        notify_webhook_url=None,
        notify_webhook_secret=None,
        notify_apprise_urls=(),
        notify_key_errors=True,
        notify_retries=False,
        watchdog=(),
        watchdog_after=600.0,
        prometheus_urls=(),
        grafana_url=None,
        selftest_interval=900.0,
        selftest_token_file=None,
        ack_max=86_400.0,
        docker_host="unix:///var/run/docker.sock",
        docker_certs=None,
        kubeconfig=None,
        ssh_hosts=(),
        webhook_auth="none",
        events_auth=False,
        public_url=None,
        oidc=None,
    )
    assert load({}).on_loopback


def test_everything_can_be_set() -> None:
    """Each variable arrives at its setting, white space around items aside; foreign variables are left alone."""
    settings = load(
        {
            "AUTOHEAL_ENABLED": "no",
            "AUTOHEAL_MAX_RUNNING": "7",
            "AUTOHEAL_DRY_RUN": "False",
            "AUTOHEAL_RULES": "/etc/autoheal/rules",
            "AUTOHEAL_DATA_DIR": "/var/lib/autoheal",
            "AUTOHEAL_REDACT": "password, сервис.токен,",
            "AUTOHEAL_KEY_DIR": "/keys",
            "AUTOHEAL_AUDIT_MIN_FREE": "3 GiB",
            "AUTOHEAL_AUDIT_ENCRYPT": f"{PUBLIC}, {OTHER_PUBLIC}",
            "AUTOHEAL_AUDIT_IDENTITY": f"# mine\n{PRIVATE}",
            "AUTOHEAL_CHECKPOINT_URL": "https://u:pw@archive/in?token=x",
            "AUTOHEAL_HOST": "0.0.0.0",
            "AUTOHEAL_PORT": "65535",
            "AUTOHEAL_INSECURE": "true",
            "AUTOHEAL_LOG_FORMAT": "JSON",
            "AUTOHEAL_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b%2Cc, y=",
            "AUTOHEAL_ALERT_ALLOWLIST": "10.0.0.0/8, fd00::/8,192.0.2.1",
            "ALERTMANAGER_URL": "http://a:9093, https://user:pw@b/prefix/",
            "PROMETHEUS_URL": "http://p:9090, https://user:pw@q/prefix/",
            "GRAFANA_URL": "https://grafana.example.org/d/autoheal?from=now-6h",
            "AUTOHEAL_DOCKER_HOST": "https://10.0.0.5:2376",
            "AUTOHEAL_DOCKER_CERT_PATH": "/etc/autoheal/docker",
            "AUTOHEAL_KUBECONFIG": "/etc/autoheal/kubeconfig",
            "AUTOHEAL_SSH_HOSTS": "db1, web-*.example.org,10.0.0.*",
            "AUTOHEAL_JOURNAL": "File",
            "AUTOHEAL_WEBHOOK_AUTH": "token",
            "AUTOHEAL_EVENTS_AUTH": "on",
            "AUTOHEAL_PUBLIC_URL": "https://Autoheal.example.org:443/",
            "AUTOHEAL_SELFTEST_INTERVAL": "off",
            "AUTOHEAL_SELFTEST_TOKEN_FILE": "/run/secrets/token",
            "AUTOHEAL_ACK_MAX": "1h30m",
            "AUTOHEAL_ESCALATE_TO_ALERTMANAGER": "no",
            "AUTOHEAL_WATCHDOG": '{alertname="Watchdog", cluster=~"a|b"}',
            "AUTOHEAL_WATCHDOG_AFTER": "5m",
            "SLACK_ALERTING_ENABLED": "true",
            "SLACK_WEBHOOK_URL": SLACK_URL,
            "SLACK_MAX_ALERTS_PER_HOUR": "3",
            "SLACK_TIMEOUT_SECONDS": "2",
            "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789ABCDEF",
            "PAGERDUTY_URL": "https://events.eu.pagerduty.com/v2/enqueue",
            "NOTIFY_WEBHOOK_URL": "http://u:pw@hooks/in?token=x",
            "NOTIFY_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "NOTIFY_APPRISE_URLS": "tgram://1:x/2 \n mailto://u:pw@example.org\n",
            "NOTIFY_KEY_ERRORS": "false",
            "NOTIFY_RETRIES": "true",
            "SLACK_SIGNING_SECRET": "another program's",
            "OIDC_ENABLED": "1",
            "OIDC_ISSUER": "https://idp.example/realms/ops/.well-known/openid-configuration",
            "OIDC_AUDIENCE": "api://autoheal",
            "OIDC_ALLOWED_CLIENTS": "console, ci",
            "OIDC_ALGORITHMS": "ES256, EdDSA,ES256",
            "OIDC_ROLES_CLAIM": '["realm_access", "roles"]',
            "OIDC_ROLE_MAP": '{"sre": "operator", "root": "admin"}',
            "OIDC_SCOPES": " openid  groups openid",
            "OIDC_JWKS_URI": "https://keys.example/jwks?tenant=1",
            "OIDC_CLIENT_ID": "console",
            "OIDC_CLIENT_SECRET": "hunter2, and more",
            "JWKS_CACHE_TTL_SECONDS": "60",
            "JWKS_STALE_TTL_SECONDS": "600",
            "JWKS_REFRESH_TIMEOUT_SECONDS": "2",
            "JWKS_REFRESH_RETRIES": "0",
            "PATH": "/bin",
            "autoheal_dry_run": "x",
        }
    )
    assert settings == Settings(
        enabled=False,
        dry_run=False,
        max_running=7,
        rules=Path("/etc/autoheal/rules"),
        data_dir=Path("/var/lib/autoheal"),
        redact=HiddenNames(["password", "сервис.токен"]),
        key_dir=Path("/keys"),
        audit_min_free=3 * 2**30,
        audit_encrypt=Recipients((PUBLIC, OTHER_PUBLIC)),
        audit_identity=IDENTITIES,
        checkpoint_url="https://u:pw@archive/in?token=x",
        host="0.0.0.0",
        port=65535,
        insecure=True,
        log_format="json",
        log_level="debug",
        otlp_endpoint="http://collector:4318",
        otlp_headers={"x-key": "a b,c", "y": ""},
        alert_allowlist=(ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.1/32")),
        alertmanager_urls=("http://a:9093", "https://user:pw@b/prefix/"),
        escalate_to_alertmanager=False,
        slack_enabled=True,
        slack_webhook_url=SLACK_URL,
        slack_limit=3,
        slack_timeout=2,
        pagerduty_key="0123456789abcdef0123456789ABCDEF",
        pagerduty_url="https://events.eu.pagerduty.com/v2/enqueue",
        notify_webhook_url="http://u:pw@hooks/in?token=x",
        notify_webhook_secret=WEBHOOK_SECRET,
        notify_apprise_urls=("tgram://1:x/2", "mailto://u:pw@example.org"),
        notify_key_errors=False,
        notify_retries=True,
        watchdog=parse_matchers('alertname="Watchdog", cluster=~"a|b"'),
        watchdog_after=300.0,
        prometheus_urls=("http://p:9090", "https://user:pw@q/prefix/"),
        grafana_url="https://grafana.example.org/d/autoheal?from=now-6h",
        selftest_interval=None,
        selftest_token_file=Path("/run/secrets/token"),
        ack_max=5400.0,
        docker_host="https://10.0.0.5:2376",
        docker_certs=Path("/etc/autoheal/docker"),
        kubeconfig=Path("/etc/autoheal/kubeconfig"),
        ssh_hosts=("db1", "web-*.example.org", "10.0.0.*"),
        webhook_auth="token",
        events_auth=True,
        public_url="https://autoheal.example.org",
        oidc=OidcSettings(
            issuer="https://idp.example/realms/ops",
            audience="api://autoheal",
            allowed_clients=("console", "ci"),
            algorithms=("ES256", "EdDSA"),
            roles_claim=("realm_access", "roles"),
            role_map={"sre": Role.OPERATOR, "root": Role.ADMIN},
            jwks_uri="https://keys.example/jwks?tenant=1",
            client_id="console",
            client_secret="hunter2, and more",
            scopes=("openid", "groups"),
            cache_ttl=60,
            stale_ttl=600,
            refresh_timeout=2,
            refresh_retries=0,
        ),
    )
    assert not settings.on_loopback
    assert settings.channels == CHANNELS


def test_a_private_key_stands_in_no_message() -> None:
    """Neither where it belongs, nor where a public one does, nor in what is printed of the settings."""
    assert PRIVATE not in repr(load({"AUTOHEAL_AUDIT_IDENTITY": PRIVATE}))
    said = faults(AUTOHEAL_AUDIT_IDENTITY=f"{PRIVATE}x", AUTOHEAL_AUDIT_ENCRYPT=PRIVATE)
    assert said.keys() == {"AUTOHEAL_AUDIT_IDENTITY", "AUTOHEAL_AUDIT_ENCRYPT"}
    assert not any(PRIVATE[16:40] in what for what in said.values())


def test_empty_is_not_set() -> None:
    """Every variable may be there and empty, as Compose files leave them."""
    assert load({option.name: " " for option in OPTIONS}) == load({})
    assert load({"ALERTMANAGER_URL_FILE": ""}) == load({})
    assert load({"AUTOHEAL_OF_ANOTHER_VERSION": " ", "AUTOHEAL_DRYRUN": ""}) == load({})


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "Yes", "on"])
def test_true(text: str) -> None:
    """A switch is on in every usual spelling."""
    assert load({"AUTOHEAL_INSECURE": text}).insecure is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "No", "off"])
def test_false(text: str) -> None:
    """A switch is off in every usual spelling."""
    assert load({"AUTOHEAL_DRY_RUN": text}).dry_run is False


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AUTOHEAL_ENABLED", "maybe", "'maybe' is neither true (1, yes, on) nor false (0, no, off)"),
        ("AUTOHEAL_DRY_RUN", "fasle", "neither true"),
        ("AUTOHEAL_PORT", "0", "1 to 65535"),
        ("AUTOHEAL_PORT", "65536", "1 to 65535"),
        ("AUTOHEAL_PORT", "9009.0", "1 to 65535"),
        ("AUTOHEAL_PORT", "\uff19009", "1 to 65535"),
        ("AUTOHEAL_PORT", "tcp://10.0.0.1:9009", "enableServiceLinks: false"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "this address must start with http:// or https:// and a host",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,hunter2", "header 2 is not name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0Ac", "the value of header 1 cannot be sent"),
        ("AUTOHEAL_LOG_FORMAT", "xml", "'xml' is none of auto, json, console"),
        ("AUTOHEAL_LOG_LEVEL", "fatal", "'fatal' is none of debug, info, warning, error"),
        ("AUTOHEAL_AUDIT_MIN_FREE", "64 MB", "with KiB, MiB, GiB or TiB"),
        ("AUTOHEAL_AUDIT_MIN_FREE", "-1", "a whole number of bytes"),
        ("AUTOHEAL_AUDIT_ENCRYPT", "age1x", "key 1 of 1 is no age public key"),
        ("AUTOHEAL_AUDIT_IDENTITY", "age1x", "line 1 is no age private key"),
        ("AUTOHEAL_ACK_MAX", "3600", "is not a duration"),
        ("AUTOHEAL_SELFTEST_INTERVAL", "9s", "'9s' is shorter than 10s"),
        ("AUTOHEAL_SELFTEST_INTERVAL", "never", "is not a duration"),
        ("AUTOHEAL_ACK_MAX", "0s", "'0s' is shorter than 1s"),
        ("AUTOHEAL_WATCHDOG", "Watchdog", "column 9: expected =, !=, =~ or !~ after the label name Watchdog"),
        ("AUTOHEAL_WATCHDOG", 'severity="none"', 'one of the matchers must be alertname="…"'),
        ("AUTOHEAL_WATCHDOG", 'alertname=~".*"', 'one of the matchers must be alertname="…"'),
        ("AUTOHEAL_WATCHDOG", 'alertname=""', 'one of the matchers must be alertname="…"'),
        ("AUTOHEAL_WATCHDOG_AFTER", "0s", "'0s' is shorter than 1s"),
        ("AUTOHEAL_CHECKPOINT_URL", "ftp://u:pw@a", "this address must start with http:// or https:// and a host"),
        ("AUTOHEAL_DOCKER_HOST", "/var/run/docker.sock", "does not begin with unix://, tcp:// or https://"),
        ("AUTOHEAL_DOCKER_HOST", "unix:", "does not begin with unix://"),
        ("AUTOHEAL_DOCKER_HOST", "unix://docker.sock", "no absolute path"),
        ("AUTOHEAL_DOCKER_HOST", "unix:///" + "x" * 107, "at most 107 bytes"),
        ("AUTOHEAL_DOCKER_HOST", "tcp://db", "is not HOST:PORT"),
        ("AUTOHEAL_DOCKER_HOST", "https://db:2376/x", "is not HOST:PORT"),
        ("AUTOHEAL_SSH_HOSTS", "db1 db2", "'db1 db2' is not a host such as"),
        ("AUTOHEAL_SSH_HOSTS", "db1,*", "'*' is not a host such as"),
        ("AUTOHEAL_SSH_HOSTS", "root@db1", "'root@db1' is not a host such as"),
        ("AUTOHEAL_HOST", "127.0.0.1:9009", "without brackets or port"),
        ("AUTOHEAL_HOST", "[::1]", "without brackets"),
        ("AUTOHEAL_HOST", "http://localhost", "no address to listen on"),
        ("AUTOHEAL_RULES", "a\0b", "no NUL"),
        ("OIDC_SCOPES", "profile email", "openid must be among them"),
        ("OIDC_SCOPES", "openid,profile", "openid must be among them"),
        ("OIDC_SCOPES", 'openid "groups"', "is not a scope"),
        ("AUTOHEAL_ALERT_ALLOWLIST", "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("AUTOHEAL_ALERT_ALLOWLIST", "10.0.0.0/8,example.org", "'example.org' is not a network"),
        ("ALERTMANAGER_URL", "alertmanager:9093", "address 1 of 1 must start with http:// or https:// and a host"),
        ("ALERTMANAGER_URL", "http://a,http://", "address 2 of 2 must start"),
        ("ALERTMANAGER_URL", "http://a:port", "address 1 of 1 is not a URL"),
        ("ALERTMANAGER_URL", "http://a:99999", "has a port that is not"),
        ("ALERTMANAGER_URL", "http://a/?x=1", "no ? and no #"),
        ("ALERTMANAGER_URL", "http://\udcff@a", "is not a URL"),
        ("AUTOHEAL_PUBLIC_URL", "http://autoheal.example", "only on loopback is http:// allowed"),
        ("AUTOHEAL_PUBLIC_URL", "https://autoheal.example/path", "no path and no ?"),
        ("AUTOHEAL_PUBLIC_URL", "https://autoheal.example?", "no path and no ?"),
        ("AUTOHEAL_PUBLIC_URL", "https://u:hunter2@autoheal.example", "no user and no password"),
        ("AUTOHEAL_PUBLIC_URL", "https://autoheal.example#", "no #"),
        ("OIDC_ISSUER", "http://idp.example", "only on loopback is http:// allowed"),
        ("OIDC_ISSUER", "https://idp.example?tenant=1", "no ?"),
        ("OIDC_ISSUER", "idp.example", "must start with http"),
        ("OIDC_AUDIENCE", "two words", "no space"),
        ("OIDC_ALLOWED_CLIENTS", "a b,c", "no space"),
        ("OIDC_ALGORITHMS", "RS256,HS256", "HS256 proves nothing"),
        ("OIDC_ALGORITHMS", "none", "none proves nothing"),
        ("OIDC_ALGORITHMS", "rs256", "'rs256' is not one of RS256"),
        ("OIDC_ALGORITHMS", ",", "names no algorithm"),
        ("OIDC_ROLES_CLAIM", '["realm_access", 1]', "is not a path of names"),
        ("OIDC_ROLES_CLAIM", "[]", "is not a path of names"),
        ("OIDC_ROLES_CLAIM", "[roles]", "not JSON"),
        ("OIDC_ROLE_MAP", "sre=operator", "not JSON"),
        ("OIDC_ROLE_MAP", '["sre"]', "is not a JSON object"),
        ("OIDC_ROLE_MAP", "{}", "is not a JSON object"),
        ("OIDC_ROLE_MAP", '{"sre": "root"}', "none of sender, viewer, operator, approver, admin"),
        ("OIDC_ROLE_MAP", '{"sre": ["operator"]}', "none of sender, viewer"),
        ("OIDC_ROLE_MAP", '{"sre": "viewer", "sre": "admin"}', "a name stands there twice"),
        ("OIDC_ROLE_MAP", "[" * 100_000, "too deep"),
        ("OIDC_JWKS_URI", "http://idp.example/keys", "only on loopback is http:// allowed"),
        ("GRAFANA_URL", "grafana.example.org", "must start with http:// or https:// and a host"),
        ("GRAFANA_URL", "https://ann:pw@grafana.example.org", "must carry no user and no password"),
        ("JWKS_CACHE_TTL_SECONDS", "0", "is not a whole number from 1 to 86400"),
        ("JWKS_REFRESH_TIMEOUT_SECONDS", "5s", "is not a whole number from 1 to 60"),
        ("OIDC_ALLOWED_CLIENT", "console", "did you mean OIDC_ALLOWED_CLIENTS?"),
        ("JWKS_CACHE_TTL_SECOND", "60", "did you mean JWKS_CACHE_TTL_SECONDS?"),
        ("OIDC_ENABLED", "2", "neither true"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/services/x", "must start with https://"),
        ("SLACK_WEBHOOK_URI", "https://hooks.slack.com/x", "did you mean SLACK_WEBHOOK_URL?"),
        ("SLACK_MAX_ALERTS_PER_HOUR", "0", "is not a whole number from 1 to 1000"),
        ("PAGERDUTY_ROUTING_KEY", "too short", "32 letters and digits"),
        ("PAGERDUTY_URL", "http://events.pagerduty.com", "must start with https://"),
        ("NOTIFY_APPRISE_URLS", "tgram://1/2 nonsense", "address 2 of 2 is none such as"),
        ("AUTOHEAL_DRYRUN", "false", "not known to this version; did you mean AUTOHEAL_DRY_RUN?"),
        ("AUTOHEAL_DRY_RUN_FILE", "/x", "did you mean AUTOHEAL_DRY_RUN?"),
        ("AUTOHEAL_EVENTS_AUTH", "true", "needs OIDC_ENABLED=true"),
        ("AUTOHEAL_WEBHOOK_AUTH", "token", "needs OIDC_ENABLED=true"),
        ("AUTOHEAL_WEBHOOK_AUTH", "basic", "is none of none, token"),
        (
            "AUTOHEAL_JOURNAL",
            "postgresql://u:pw@db/log",
            "this version keeps its log in a file, and nowhere else; leave",
        ),
        ("AUTOHEAL_REDACT", "password token", "'password token' is not a name: commas stand between names"),
        ("AUTOHEAL_REDACT", "a;b", "'a;b' is not a name"),
        ("AUTOHEAL_REDACT", '"a"', "no quotes around them"),
        ("AUTOHEAL_ALERTMANAGER_URL", "http://a", "did you mean ALERTMANAGER_URL?"),
        ("AUTOHEAL_ZZZZZZZZZZZZ", "1", "docs/configuration.md"),
        ("AUTOHEAL_SERVICE_HOST", "10.0.0.1", "enableServiceLinks: false"),
        ("AUTOHEAL_PORT_9009_TCP_ADDR", "10.0.0.1", "enableServiceLinks: false"),
    ],
)
def test_each_fault_is_named(name: str, value: str, says: str) -> None:
    """A bad value is one fault that names its variable and says what is allowed."""
    told = faults(**{name: value})
    assert list(told) == [name]
    assert says in told[name]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SLACK_ALERTING_ENABLED": "true"}, {"SLACK_WEBHOOK_URL": "is needed for SLACK_ALERTING_ENABLED=true"}),
        ({"NOTIFY_WEBHOOK_URL": "http://a"}, {"NOTIFY_WEBHOOK_SECRET": "openssl rand"}),
        ({"NOTIFY_WEBHOOK_SECRET": "whsec_" + "A" * 32}, {"NOTIFY_WEBHOOK_URL": "where to post to"}),
        (
            {"NOTIFY_WEBHOOK_URL": "http://a", "NOTIFY_WEBHOOK_SECRET": "hunter2"},
            {"NOTIFY_WEBHOOK_SECRET": "24 to 64 random bytes"},
        ),
    ],
)
def test_half_a_channel_is_a_fault(environ: dict[str, str], says: dict[str, str]) -> None:
    """Whoever sets a part of one expects to be told; and no fault repeats a secret."""
    told = faults(**environ)
    assert told.keys() == says.keys()
    assert all(part in told[name] and "hunter2" not in told[name] for name, part in says.items())


def test_channels_show_no_secrets() -> None:
    """Neither in the settings' repr nor in a fault."""
    planted = {
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/hunter2",
        "PAGERDUTY_ROUTING_KEY": "hunter2hunter2hunter2hunter2hunt",
        "NOTIFY_WEBHOOK_URL": "https://u:hunter2@a",
        "NOTIFY_WEBHOOK_SECRET": "hunter2hunter2hunter2hunter2hunter2hunte",
        "NOTIFY_APPRISE_URLS": "tgram://hunter2",
    }
    assert "hunter2" not in repr(load(planted))
    assert "hunter2" not in str(faults(**{name: f"^{value}" for name, value in planted.items()}))


OPPOSITES = ("DISABLED", "SECURE", "NO_DRY_RUN", "NOT_ENABLED", "UNREDACT", "ALERT_DENYLIST", "WET_RUN", "LIVE")


@pytest.mark.parametrize("name", OPPOSITES)
def test_no_hint_names_the_opposite(name: str) -> None:
    """Whoever follows it would get the contrary of what was meant, or something that was not meant at all."""
    assert "did you mean" not in faults(**{f"AUTOHEAL_{name}": "true"})[f"AUTOHEAL_{name}"]


def test_one_setting_alone() -> None:
    """It is there whatever is wrong with others, and has its own fault."""
    assert load_one({"AUTOHEAL_REDACT": "a,b", "AUTOHEAL_PORT": "x", "AUTOHEAL_X": "x"}, "redact") == HiddenNames(
        ["a", "b"]
    )
    assert load_one({}, "port") == 9009
    with pytest.raises(ConfigError, match="AUTOHEAL_PORT: 'x' is not a port"):
        load_one({"AUTOHEAL_PORT": "x", "AUTOHEAL_HOST": "0.0.0.0"}, "port")


def test_all_faults_at_once() -> None:
    """Every fault is told, not only the first."""
    told = faults(
        AUTOHEAL_PORT="x", AUTOHEAL_DRY_RUN="x", ALERTMANAGER_URL="x", AUTOHEAL_HOST="0.0.0.0", AUTOHEAL_X="x"
    )
    assert sorted(told) == ["ALERTMANAGER_URL", "AUTOHEAL_DRY_RUN", "AUTOHEAL_HOST", "AUTOHEAL_PORT", "AUTOHEAL_X"]


def test_a_name_that_cannot_be_printed_is_escaped() -> None:
    """Undecodable bytes in a variable's name do not break the message."""
    (where,) = faults(**{"AUTOHEAL_\udcff": "1"})
    assert where.isprintable()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_permission(host: str) -> None:
    """Loopback addresses and localhost are listened on as they are."""
    assert is_loopback(host)
    assert load({"AUTOHEAL_HOST": host}).on_loopback


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1:9009"), ("::1", "[::1]:9009"), ("localhost", "localhost:9009")]
)
def test_an_address_is_written_as_in_a_url(host: str, address: str) -> None:
    """With brackets around IPv6: without them, nobody can tell the port."""
    assert load({"AUTOHEAL_HOST": host}).address == address


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({}, "http://127.0.0.1:9009"),
        ({"AUTOHEAL_HOST": "::1", "AUTOHEAL_PORT": "80"}, "http://[::1]"),
        ({"AUTOHEAL_PUBLIC_URL": "https://Autoheal.example:443/"}, "https://autoheal.example"),
        ({"AUTOHEAL_HOST": "0.0.0.0", "AUTOHEAL_INSECURE": "true"}, None),
    ],
)
def test_the_origin_is_as_browsers_write_it(environ: dict[str, str], origin: str | None) -> None:
    """Small letters and no usual port, so that it can be compared; nobody guesses it."""
    assert load(environ).origin == origin


def test_identities_permit_other_addresses() -> None:
    """With OIDC the sensitive routes ask who is there, so the service may listen where others reach it."""
    assert load(OIDC | {"AUTOHEAL_HOST": "0.0.0.0"}).oidc is not None


def test_oidc_by_default() -> None:
    """What little is needed is enough: common algorithms, a claim named roles, no map, the usual times."""
    found = load(OIDC).oidc
    assert found is not None
    assert (found.issuer, found.audience, found.algorithms) == ("https://idp.example", "autoheal", ("RS256", "ES256"))
    assert (found.roles_claim, found.role_map, found.allowed_clients) == (("roles",), None, ())
    assert (found.cache_ttl, found.stale_ttl, found.refresh_timeout, found.refresh_retries) == (300, 3600, 5, 3)
    assert found.jwks_uri is found.client_id is found.client_secret is None


def test_oidc_that_is_off_is_only_read() -> None:
    """A file of variables may be prepared before the switch is turned; what is misspelt in it is told all the same."""
    assert load(OIDC | {"OIDC_ENABLED": "false"}).oidc is None
    assert list(faults(OIDC_ROLE_MAP="x")) == ["OIDC_ROLE_MAP"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"OIDC_ISSUER": "", "OIDC_AUDIENCE": ""}, {"OIDC_ISSUER": "is needed", "OIDC_AUDIENCE": "is needed"}),
        ({"OIDC_ISSUER": "x"}, {"OIDC_ISSUER": "must start with http"}),
        ({"OIDC_ROLES_CLAIM": "groups"}, {"OIDC_ROLES_CLAIM": "needs OIDC_ROLE_MAP"}),
        ({"OIDC_CLIENT_SECRET": "s"}, {"OIDC_CLIENT_SECRET": "needs OIDC_CLIENT_ID"}),
        (
            {"JWKS_STALE_TTL_SECONDS": "299"},
            {"JWKS_STALE_TTL_SECONDS": "299 is less than JWKS_CACHE_TTL_SECONDS (300)"},
        ),
        (
            {"OIDC_CLIENT_ID": "console", "AUTOHEAL_HOST": "0.0.0.0"},
            {"AUTOHEAL_PUBLIC_URL": "is needed with OIDC_CLIENT_ID while AUTOHEAL_HOST is 0.0.0.0"},
        ),
        (
            {"OIDC_AUDIENCE": "", "OIDC_ROLES_CLAIM": "x", "JWKS_REFRESH_RETRIES": "-1", "AUTOHEAL_HOST": "?"},
            {
                "OIDC_AUDIENCE": "is needed",
                "OIDC_ROLES_CLAIM": "needs OIDC_ROLE_MAP",
                "JWKS_REFRESH_RETRIES": "0 to 10",
                "AUTOHEAL_HOST": "no address",
            },
        ),
        (
            {"OIDC_ENABLED": "maybe", "AUTOHEAL_HOST": "0.0.0.0", "AUTOHEAL_EVENTS_AUTH": "1"},
            {"OIDC_ENABLED": "neither"},
        ),
    ],
)
def test_settings_of_oidc_that_do_not_fit_together(changes: dict[str, str], says: dict[str, str]) -> None:
    """Each says what is missing beside it, all at once, and nothing that follows from another fault."""
    told = faults(**OIDC | changes)
    assert told.keys() == says.keys()
    for name, text in says.items():
        assert text in told[name]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9009", "http://[::1]:9009", "http://localhost"])
def test_a_public_url_on_loopback_may_be_plain(url: str) -> None:
    """Nobody listens in between."""
    assert load({"AUTOHEAL_PUBLIC_URL": f"{url}/"}).public_url == url


@pytest.mark.parametrize("name", ["OIDC_PROVIDER_FOR_ANOTHER", "OIDC_SERVICE_HOST", "JWKS_X"])
def test_what_others_call_theirs_is_left_alone(name: str) -> None:
    """OIDC_ and JWKS_ are not ours alone: only what is nearly one of our names is taken for it."""
    assert load({name: "x"}) == load({})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.evil.example", "127.1"])
def test_other_addresses_need_permission(host: str) -> None:
    """Any other address, and any other name, is refused unless AUTOHEAL_INSECURE says otherwise."""
    assert "AUTOHEAL_INSECURE=true" in faults(AUTOHEAL_HOST=host)["AUTOHEAL_HOST"]
    assert not load({"AUTOHEAL_HOST": host, "AUTOHEAL_INSECURE": "true"}).on_loopback


def test_secrets_from_files(tmp_path: Path) -> None:
    """A secret may come from the file that NAME_FILE names; white space around it is dropped."""
    path = tmp_path / "url"
    path.write_text("http://user:pw@a:9093\n")
    assert load({"ALERTMANAGER_URL_FILE": str(path)}).alertmanager_urls == ("http://user:pw@a:9093",)


def test_secret_files_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing, empty, huge or binary file, or both ways at once, is a fault of the variable."""

    def told(path: Path | str, **more: str) -> str:
        return faults(ALERTMANAGER_URL_FILE=str(path), **more)["ALERTMANAGER_URL"]

    path = tmp_path / "url"
    assert "No such file" in told(path)
    assert "Is a directory" in told(tmp_path)
    assert "cannot be read" in told("a\0b")
    path.write_bytes(b" \n")
    assert "is empty" in told(path)
    path.write_bytes(b"\xff")
    assert "is not UTF-8" in told(path)
    path.write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    assert "is larger than 65,536 bytes" in told(path)
    path.write_text("http://a")
    assert told(path, ALERTMANAGER_URL="http://b") == "is set twice: by itself and by ALERTMANAGER_URL_FILE"


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    """Neither a fault nor the settings' repr shows a secret's value."""
    path = tmp_path / "url"
    for bad in ("ftp://user:hunter2@a", "http://user:hunter2@a:port", "http://user:hunter2@a/#x", "user:hunter2@a"):
        path.write_text(bad)
        assert "hunter2" not in str(faults(ALERTMANAGER_URL=bad))
        assert "hunter2" not in str(faults(ALERTMANAGER_URL_FILE=str(path)))
    assert "hunter2" not in repr(load({"ALERTMANAGER_URL": "http://user:hunter2@a"}))
    oidc = {"OIDC_CLIENT_ID": "console", "OIDC_CLIENT_SECRET": "hunter2"}
    assert "hunter2" not in repr(load(OIDC | oidc))
    assert "hunter2" not in str(faults(**oidc | OIDC | {"OIDC_CLIENT_ID": ""}))


@given(st.dictionaries(st.sampled_from([*(o.name for o in OPTIONS), "AUTOHEAL_X"]), st.text(st.characters())))
def test_any_environment_gives_settings_or_faults(environ: dict[str, str]) -> None:
    """Nothing but ConfigError is raised, whatever the environment holds."""
    try:
        load(environ)
    except ConfigError as error:
        assert error.faults  # noqa: PT017 most inputs fail, some do not


def test_the_documentation_lists_every_setting_and_no_other() -> None:
    """docs/configuration.md has one row for each option, with its default and its meaning, and names no other."""
    text = DOCS.read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(o.name, f"`{o.default}`" if o.default else "", o.help) for o in OPTIONS]
    known = {option.name for option in OPTIONS} | {f"{option.name}_FILE" for option in OPTIONS if option.secret}
    assert set(re.findall(r"\b(?:AUTOHEAL|ALERTMANAGER|OIDC)_[A-Z_]+\b", text)) <= known
