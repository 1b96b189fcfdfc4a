"""Which cluster the kubernetes action acts on, and as whom: kubeconfigs and service accounts."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.actions import Context, Kubernetes, Outcome
from autoheal.actions.kubernetes_config import KubernetesError, from_kubeconfig, in_cluster
from tests.support.kubernetes import kubernetes
from tests.support.kubernetes_rules import Cluster
from tests.support.pki import Pki
from tests.support.webserver import answer, web_server

CORDON = {"cordon": "node-1"}


@pytest.fixture
async def cluster(pki: Pki) -> AsyncIterator[Cluster]:
    async with kubernetes(pki) as made:
        made.add("nodes", "node-1", None)
        # Only who is known may do anything.
        made.grants["system:anonymous"] = []
        yield made


def write(folder: Path, *, user: Any = None, context: Any = None, **cluster: Any) -> Path:
    """A kubeconfig of one context, in JSON, which is YAML."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "one", "namespace": "x", **(context or {})}}
        ],
        "clusters": [{"name": "one", "cluster": cluster}],
        "users": [{"name": "one", "user": user or {}}],
    }
    (folder / "config").write_bytes(orjson.dumps(config))
    return folder / "config"


async def cordon(config: Path, here: Context, /, **params: Any) -> Outcome:
    return await Kubernetes(config).run({**CORDON, **params}, here)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_each_way_to_log_in(cluster: Cluster, pki: Pki, context: Context, tmp_path: Path) -> None:
    """Token, token file (which wins, and is read again), client certificate as files beside it or inside of it."""
    (tmp_path / "token").write_text("token-of-autoheal\n")
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_bytes((pki.client / name).read_bytes())
    authority = {"certificate-authority": "ca.pem"}
    inside = {"certificate-authority-data": encoded(pki.ca)}
    files = {"client-certificate": "cert.pem", "client-key": "key.pem"}
    data = {
        "client-certificate-data": encoded(pki.client / "cert.pem"),
        "client-key-data": encoded(pki.client / "key.pem"),
    }
    cluster.grants |= {"autoheal": [], "client": []}
    for user, name in (
        ({"token": "token-of-autoheal", "tokenFile": ""}, "autoheal"),
        ({"token": "old", "tokenFile": "token"}, "autoheal"),
        ({"tokenFile": str(tmp_path / "token")}, "autoheal"),
        (files, "client"),
        ({**data, "client-certificate": "ignored", "client-key": "ignored"}, "client"),
    ):
        for trust in (authority, inside):
            outcome = await cordon(write(tmp_path, user=user, server=cluster.url, **trust), context)
            assert f'User "{name}" cannot get resource "nodes"' in outcome.detail["error"]
    (tmp_path / "token").write_text("rotated-token")
    cluster.tokens["rotated-token"] = "rotated"
    write(tmp_path, user={"tokenFile": "token"}, server=cluster.url, **authority)
    assert (await cordon(tmp_path / "config", context)).ok


async def test_the_context_says_which_cluster(cluster: Cluster, pki: Pki, context: Context, tmp_path: Path) -> None:
    """The current one, or the one that the step names; what is not there is named."""
    path = write(
        tmp_path, user={"token": "token-of-autoheal"}, server=cluster.url, **{"certificate-authority": str(pki.ca)}
    )
    config = orjson.loads(path.read_bytes())
    config["contexts"].append({"name": "two", "context": {"cluster": "gone", "user": "one"}})
    config["contexts"].append({"name": "three", "context": {"cluster": "one", "user": "gone"}})
    path.write_bytes(orjson.dumps(config))
    assert (await cordon(path, context, context="one")).ok
    where = f"kubeconfig {str(path)!r}"
    for name, error in (
        ("two", f"{where} has no cluster 'gone'"),
        ("three", f"{where} has no user 'gone'"),
        ("four", f"{where} has no context 'four'"),
    ):
        assert (await cordon(path, context, context=name)).detail["error"] == error
    path.write_bytes(orjson.dumps({**config, "current-context": ""}))
    assert (await cordon(path, context)).detail["error"] == (
        f"{where} has no current-context: name one with `context` in the step"
    )


async def test_the_certificate_is_checked(cluster: Cluster, pki: Pki, context: Context, tmp_path: Path) -> None:
    """Against the authority, and for the address or `tls-server-name`; without one, the system's authorities count."""
    user = {"token": "token-of-autoheal"}
    trust = {"certificate-authority": str(pki.ca)}
    outcome = await cordon(write(tmp_path, user=user, server=cluster.url), context)
    assert "certificate verify failed" in outcome.detail["error"]
    other = cluster.url.replace("127.0.0.1", "localhost")
    outcome = await cordon(write(tmp_path, user=user, server=other, **trust), context)
    assert "certificate verify failed" in outcome.detail["error"]
    path = write(tmp_path, user=user, server=other, **trust, **{"tls-server-name": "127.0.0.1"})
    assert (await cordon(path, context)).ok
    path = write(tmp_path, user=user, server=cluster.url, **trust, **{"tls-server-name": "api.example.org"})
    assert "certificate verify failed" in (await cordon(path, context)).detail["error"]
    assert len(cluster.asked) == 2


async def test_a_pod_acts_as_its_service_account(cluster: Cluster, pki: Pki, context: Context, tmp_path: Path) -> None:
    """The token is read at each action: kubelets rotate it."""
    host, _, port = cluster.url.removeprefix("https://").rpartition(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    (tmp_path / "ca.crt").write_bytes(pki.ca.read_bytes())
    (tmp_path / "token").write_text("token-of-autoheal")
    action = Kubernetes(None, environ, tmp_path)
    assert (await action.run(CORDON, context)).ok
    del cluster.tokens["token-of-autoheal"]
    cluster.tokens["the-next-token"] = "autoheal"
    outcome = await action.run(CORDON, context)
    assert outcome.detail["error"].startswith("not logged in (401): Unauthorized are the credentials of the service")
    (tmp_path / "token").write_text("the-next-token\n")
    assert (await action.run(CORDON, context)).ok
    outcome = await action.run({**CORDON, "context": "prod"}, context)
    assert outcome.detail["error"] == "context 'prod' needs a kubeconfig: set AUTOHEAL_KUBECONFIG"


def test_a_pod_whose_service_account_cannot_be_used(pki: Pki, tmp_path: Path) -> None:
    """Outside of a cluster, without a token, without its authority: each says what is missing."""
    with pytest.raises(KubernetesError, match="no cluster is known: set AUTOHEAL_KUBECONFIG, or run autoheal in a pod"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(KubernetesError, match="token' cannot be read: No such file or directory"):
        in_cluster(environ, tmp_path)
    (tmp_path / "token").write_text("t")
    with pytest.raises(KubernetesError, match=r"ca\.crt cannot be used: .*No such file"):
        in_cluster(environ, tmp_path)
    (tmp_path / "ca.crt").write_bytes(pki.ca.read_bytes())
    assert in_cluster(environ, tmp_path).server == "https://[fd00::1]:443"


@pytest.mark.parametrize(
    ("host", "port"), [("10.0.0.1", "x"), ("10.0.0.1", "99999"), ("a/b", "443"), ("a@b", "443"), ("a?b", "443")]
)
async def test_a_pod_that_is_told_no_address(context: Context, tmp_path: Path, host: str, port: str) -> None:
    """The token goes nowhere."""
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    outcome = await Kubernetes(None, environ, tmp_path).run(CORDON, context)
    assert outcome.detail["error"].startswith("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: '")


@pytest.mark.parametrize(
    ("user", "cluster", "error"),
    [
        (
            {"exec": {"command": "aws"}},
            {},
            "`exec` plugins are not run, as each action would start a program: use a client",
        ),
        ({"auth-provider": {"name": "gcp"}}, {}, "`auth-provider` is not supported, nor by kubectl since 1.26: use a"),
        (
            {"username": "root", "password": "hunter2-of-root"},
            {},
            "`username` is not supported, nor by Kubernetes since",
        ),
        ({"as": "admin"}, {}, "`as` is not supported: log in as the one that may do it"),
        ({}, {"insecure-skip-tls-verify": True}, "give `certificate-authority`, and `tls-server-name` when the cert"),
        ({}, {"proxy-url": "socks5://p"}, "`proxy-url` is not supported"),
        ({}, {"server": "http://10.0.0.1:8080"}, "must begin with https://; http:// is for a proxy on this machine"),
        ({}, {"server": "http://api:8080"}, "must begin with https://"),
        ({}, {"server": "https://u:hunter2@api"}, "must be https://HOST:PORT, perhaps with a path, and nothing else"),
        ({}, {"server": "https://api/?x=1"}, "must be https://HOST:PORT"),
        ({}, {"server": "api:6443"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://a:b"}, "server: 'https://a:b' is not a URL"),
        ({}, {"server": "https://127.0.0.1:99999"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://127.0.0.1:-1"}, "server: must be https://HOST:PORT"),
        ({}, {"server": 5}, "cluster 'one': server: Input should be a valid string"),
        ({"token": "hunter2 hunter2"}, {}, "token: is not a bearer token: printable ASCII without spaces"),
        ({"token": "hunter2\r\nX-Evil: 1"}, {}, "token: is not a bearer token"),
        ({"token": ["hunter2"]}, {}, "user 'one': token: Input should be a valid string"),
        ({"tokenFile": "nothing"}, {}, "nothing' cannot be read: No such file or directory"),
        ({"tokenFile": "/dev/zero"}, {}, "token file '/dev/zero' is not a regular file"),
        ({"client-certificate": "nothing"}, {}, "user 'one': client-certificate and client-key cannot be used: "),
        ({"client-certificate-data": "aHVudGVyMg=="}, {}, "client-certificate and client-key cannot be used: "),
        ({}, {"certificate-authority": "nothing"}, "cluster 'one': certificate-authority cannot be used: "),
        ({}, {"certificate-authority-data": "aHVudGVyMg=="}, "cluster 'one': certificate-authority cannot be used: "),
        ({}, {"certificate-authority-data": "/w=="}, "cluster 'one': certificate-authority cannot be used: "),
    ],
)
async def test_what_is_refused_says_what_to_do(
    context: Context, tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], error: str
) -> None:
    """Left out silently it would be another user, or another cluster. No secret is repeated."""
    path = write(tmp_path, user={"token": "hunter2"} | user, **{"server": "https://127.0.0.1:1", **cluster})
    outcome = await cordon(path, context)
    assert not outcome.ok
    assert error in outcome.detail["error"]
    assert "hunter2" not in outcome.detail["error"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "cannot be read: No such file or directory"),
        ("a: [hunter2", "is no YAML file: ParserError at line 1"),
        ("a: 1\n\tb: hunter2", "is no YAML file: ScannerError at line 2"),
        ("\x00hunter2", "is no YAML file: ReaderError"),
        ("hunter2", ": it: Input should be a valid dictionary"),
        ("contexts: [hunter2]", ": contexts.0: Input should be a valid dictionary"),
        ("current-context: a", "has no context 'a'"),
        ("current-context: a\ncontexts: [{name: a}]", "context 'a': it: Input should be a valid dictionary"),
        ("current-context: a\ncontexts: [{name: a, context: {}}]", "context 'a': cluster: Field required"),
    ],
)
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str | None, error: str) -> None:
    """It says where, and repeats nothing of it: tokens stand in there."""
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KubernetesError) as caught:
        from_kubeconfig(path, None)
    assert str(caught.value).startswith(f"kubeconfig {str(path)!r}")
    assert error in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def told(pki: Pki, context: Context, folder: Path, token: str, said: bytes) -> str:
    """The error when that is all that is said to who shows `token`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki.server, pki.server_key)
    async with web_server(said, tls=tls) as web:
        server, trust = f"https://127.0.0.1:{web.port}", {"certificate-authority": str(pki.ca)}
        outcome = await cordon(write(folder, user={"token": token}, server=server, **trust), context)
    assert web.asked[0].headers["authorization"] == f"Bearer {token}"
    return str(outcome.detail["error"])


async def test_a_server_that_repeats_the_token(pki: Pki, context: Context, tmp_path: Path) -> None:
    """Proxies do, when they explain what they did not like."""
    said = answer(403, b"Bearer the-very-token is not for this cluster")
    error = await told(pki, context, tmp_path, "the-very-token", said)
    assert error == "forbidden (403): Bearer [redacted] is not for this cluster"
    error = await told(pki, context, tmp_path, "the-very-token", b"authorization: Bearer the-very-token\r\n\r\n")
    assert error.endswith("illegal status line: bytearray(b'authorization: Bearer [redacted]')")


@pytest.mark.parametrize(
    "body",
    [
        b"TOKEN",
        b'{"kind":"Status","message":"busy","details":{"causes":[{"message":"TOKEN"}]}}',
        b'{"kind":"Status","message":"%b hunter2-hunter2"}' % (b"x" * 470),
    ],
)
async def test_a_token_of_any_length_is_hidden_whole(pki: Pki, context: Context, tmp_path: Path, body: bytes) -> None:
    """Service accounts have long ones. What is hidden is hidden before anything is cut off, secrets of rules, too."""
    token = "hunter2-" * 150
    error = await told(pki, context, tmp_path, token, answer(429, body.replace(b"TOKEN", token.encode())))
    assert error.startswith("not now (429): ")
    assert len(error) <= 500
    assert "hun" not in error


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    """Not in a traceback's locals."""
    access = from_kubeconfig(write(tmp_path, user={"token": "hunter2-hunter2"}, server="https://a"), None)
    assert access.token == "hunter2-hunter2"
    assert "hunter2" not in repr(access)
