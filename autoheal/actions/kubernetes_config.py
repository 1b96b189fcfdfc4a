"""Where a Kubernetes API server is, and how one logs in there: a kubeconfig, or the service account of a pod.

Read anew for each action, so that rotated tokens and renewed certificates count from the next one on.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from autoheal.actions.contract import one_line
from autoheal.actions.secret import read_regular
from autoheal.errors import AutohealError, RenderError
from autoheal.rules.address import check_endpoint

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_TOKEN_BYTES = 64 * 1024

_TOKEN = re.compile("[!-~]+")
_INSTEAD = "use a client certificate, or a service account's token in a file (`tokenFile`), renewed by who may"


class KubernetesError(AutohealError):
    """A cluster cannot be asked, or would not; says why, for people."""


@dataclass(frozen=True, slots=True)
class Access:
    """One cluster as one user. `source` is where that was read, for people."""

    server: str
    source: str
    tls: ssl.SSLContext | None
    token: str | None = field(default=None, repr=False)
    server_name: str | None = None
    """The name that the server's certificate must have, when it is not the address's."""

    def hide(self, text: str) -> str:
        """`text` without our token, whoever repeats it."""
        return text if self.token is None else text.replace(self.token, "[redacted]")


class _Part(BaseModel):
    """A part of a kubeconfig: what is not known is left alone, as kubectl does."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=lambda name: name.replace("_", "-"))


class _Config(_Part):
    current_context: str | None = None
    contexts: list[dict[str, Any]] | None = None
    clusters: list[dict[str, Any]] | None = None
    users: list[dict[str, Any]] | None = None


class _Context(_Part):
    cluster: str
    user: str | None = None


class _Cluster(_Part):
    server: str
    certificate_authority: str | None = None
    certificate_authority_data: Base64Bytes | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(_Part):
    token: str | None = None
    token_file: str | None = Field(default=None, alias="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: Base64Bytes | None = None
    client_key: str | None = None
    client_key_data: Base64Bytes | None = None
    exec: Any = None
    auth_provider: Any = None
    username: str | None = None
    impersonated: Any = Field(default=None, alias="as")


PartT = TypeVar("PartT", bound=_Part)


def from_kubeconfig(path: Path, context: str | None) -> Access:
    """The cluster and the user of `context` in the kubeconfig at `path`, by default of its current one.

    Relative paths in it start at its folder. Raises KubernetesError for what is not there or not supported.
    """
    where = f"kubeconfig {str(path)!r}"
    config = _part(_Config, _yaml(path, where), where)
    name = context or config.current_context
    if not name:
        raise KubernetesError(f"{where} has no current-context: name one with `context` in the step")
    chosen = _part(_Context, _named(config.contexts, "context", name, where), f"{where}, context {name!r}")
    place = f"{where}, cluster {chosen.cluster!r}"
    cluster = _part(_Cluster, _named(config.clusters, "cluster", chosen.cluster, where), place)
    whose = f"{where}, user {chosen.user!r}"
    user = _part(_User, _named(config.users, "user", chosen.user, where) if chosen.user else {}, whose)
    _supported(cluster, place, user, whose)
    if not _over_tls(cluster.server, place):
        # As with kubectl, what proves who we are goes over TLS alone.
        return Access(cluster.server, f"{where}, context {name!r}", None)
    return Access(
        cluster.server,
        f"{where}, context {name!r}",
        _tls(path.parent, cluster, place, user, whose),
        _token(path.parent, user, whose),
        cluster.tls_server_name or None,
    )


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access:
    """The cluster that this process is a pod of, as the pod's service account. Raises KubernetesError."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise KubernetesError("no cluster is known: set AUTOHEAL_KUBECONFIG, or run autoheal in a pod of one")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        check_endpoint(address)
    except RenderError as error:
        raise KubernetesError(f"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: {error}") from None
    where = f"the service account in {str(folder)!r}"
    token = _bearer(folder / "token", where)
    try:
        tls = ssl.create_default_context(cafile=folder / "ca.crt")
    except (OSError, ValueError) as error:
        raise KubernetesError(f"{where}: ca.crt cannot be used: {error}") from None
    return Access(f"https://{address}", where, tls, token)


def _yaml(path: Path, where: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(read_regular(path, MAX_CONFIG_BYTES))
    except OSError as error:
        raise KubernetesError(f"{where} cannot be read: {os.strerror(error.errno or 0)}") from None
    except (ValueError, RecursionError, YAMLError) as error:
        # What a parser says may quote the line, and a token stands in it.
        raise KubernetesError(f"{where} is no YAML file: {type(error).__name__}{_line(error)}") from None


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" at line {mark.line + 1}"


def _part(kind: type[PartT], value: Any, where: str) -> PartT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise KubernetesError(one_line(f"{where}: {place or 'it'}: {first['msg']}")) from None


def _named(entries: Sequence[Mapping[str, Any]] | None, kind: str, name: str, where: str) -> Any:
    for entry in entries or ():
        if entry.get("name") == name:
            return entry.get(kind)
    raise KubernetesError(one_line(f"{where} has no {kind} {name!r}"))


def _supported(cluster: _Cluster, place: str, user: _User, whose: str) -> None:
    """Refuse what would change who we are or whom we speak to, and is not done here: left out, it would be wrong."""
    if user.exec is not None:
        raise KubernetesError(f"{whose}: `exec` plugins are not run, as each action would start a program: {_INSTEAD}")
    if user.auth_provider is not None:
        raise KubernetesError(f"{whose}: `auth-provider` is not supported, nor by kubectl since 1.26: {_INSTEAD}")
    if user.username:
        raise KubernetesError(f"{whose}: `username` is not supported, nor by Kubernetes since 1.19: {_INSTEAD}")
    if user.impersonated:
        raise KubernetesError(f"{whose}: `as` is not supported: log in as the one that may do it")
    if cluster.insecure_skip_tls_verify:
        raise KubernetesError(
            f"{place}: `insecure-skip-tls-verify` would show the credentials to anyone in between: "
            "give `certificate-authority`, and `tls-server-name` when the certificate has another name"
        )
    if cluster.proxy_url:
        raise KubernetesError(f"{place}: `proxy-url` is not supported: the gateway must reach the API server itself")


def _over_tls(server: str, place: str) -> bool:
    try:
        url = httpx.URL(server)
    except (httpx.InvalidURL, ValueError):
        raise KubernetesError(one_line(f"{place}: server: {server[:200]!r} is not a URL")) from None
    if not url.host or url.userinfo or url.query or url.fragment or not 0 < (url.port or 443) < 65536:
        raise KubernetesError(f"{place}: server: must be https://HOST:PORT, perhaps with a path, and nothing else")
    if url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host)):
        return url.scheme == "https"
    raise KubernetesError(f"{place}: server: must begin with https://; http:// is for a proxy on this machine")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(folder: Path, user: _User, whose: str) -> str | None:
    if user.token_file:
        return _bearer(folder / user.token_file, whose)
    return _checked(user.token, f"{whose}: token") if user.token else None


def _bearer(path: Path, whose: str) -> str:
    where = f"{whose}: token file {str(path)!r}"
    try:
        return _checked(read_regular(path, MAX_TOKEN_BYTES).decode(errors="replace").strip(), where)
    except OSError as error:
        raise KubernetesError(f"{where} cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise KubernetesError(f"{where} {error}") from None


def _checked(token: str, where: str) -> str:
    # A line break would begin another header (CWE-113).
    if not _TOKEN.fullmatch(token):
        raise KubernetesError(f"{where}: is not a bearer token: printable ASCII without spaces")
    return token


def _tls(folder: Path, cluster: _Cluster, place: str, user: _User, whose: str) -> ssl.SSLContext:
    try:
        if cluster.certificate_authority_data:
            tls = ssl.create_default_context(cadata=cluster.certificate_authority_data.decode("ascii"))
        elif cluster.certificate_authority:
            tls = ssl.create_default_context(cafile=folder / cluster.certificate_authority)
        else:
            tls = ssl.create_default_context()
    except (OSError, ValueError) as error:
        raise KubernetesError(one_line(f"{place}: certificate-authority cannot be used: {error}")) from None
    try:
        with (
            _file(folder, user.client_certificate, user.client_certificate_data) as certificate,
            _file(folder, user.client_key, user.client_key_data) as key,
        ):
            if certificate is not None:
                # An encrypted key would be asked for on the terminal.
                tls.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise KubernetesError(one_line(f"{whose}: client-certificate and client-key cannot be used: {error}")) from None
    return tls


@contextmanager
def _file(folder: Path, path: str | None, data: bytes | None) -> Iterator[str | None]:
    """A path to what a kubeconfig names or holds. OpenSSL reads keys from files alone; no disk sees this one."""
    if not data:
        yield str(folder / path) if path else None
        return
    descriptor = os.memfd_create("autoheal")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
