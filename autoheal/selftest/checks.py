"""All checks: the pipe by itself, then the others side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx

from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.journal.files import FILE_NAME
from autoheal.journal.verify import verify_tail
from autoheal.model import Check
from autoheal.selftest import peers
from autoheal.selftest.gateway import NO_TOKEN, Gateway, objection
from autoheal.selftest.pipe import pipe
from autoheal.selftest.results import Failed, Result, Skipped

TAIL_BYTES = 16 * 1024 * 1024
"""How much of the log's last file is looked at."""
MAX_TOKEN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tested: the gateway at `url`, which `settings` are taken for.

    `token_file` holds the token that is shown; `local` says that the gateway's files are on this machine. `http` is by
    what the gateway and Alertmanager are asked, `provider` by what the identity provider is.
    """

    url: str
    settings: Settings
    token_file: Path | None
    local: bool
    http: httpx.AsyncClient
    provider: httpx.AsyncClient
    clock: Clock


async def run_checks(subject: Subject) -> list[Result]:
    """The results, one for each check."""
    token, unreadable = _token(subject.token_file)
    gateway = Gateway(subject.url, subject.http, token)
    forbidden = _forbidden(subject, token)
    timed = [
        (Check.ACCESS, lambda: _access(gateway)),
        (Check.TOKEN, lambda: _shows_token(gateway, unreadable)),
        (Check.AUDIT, lambda: _audit(subject)),
        (Check.KEYS, lambda: peers.keys(gateway, subject.settings, subject.provider, subject.clock)),
        (Check.ALERTMANAGER, lambda: peers.alertmanagers(subject.settings, subject.http)),
        (Check.CLOCK, lambda: peers.clocks(subject.settings, subject.http, subject.provider, subject.clock)),
        (Check.DISK, lambda: _disk(gateway, subject.settings)),
    ]
    # Alone, so that nothing of ours is in the delay that it measures.
    log = subject.settings.data_dir if subject.local else None
    piped = await pipe(gateway, subject.clock, forbidden, log)
    others = await asyncio.gather(*(_result(check, make, subject.clock) for check, make in timed))
    return [*piped, *others]


async def _result(check: Check, make: Callable[[], Awaitable[str]], clock: Clock) -> Result:
    begun = clock.monotonic()
    ok: bool | None = True
    remedy = ""
    try:
        text = await make()
    except Skipped as why:
        ok, text = None, str(why)
    except Failed as why:
        ok, text, remedy = False, str(why), why.remedy
    return Result(check, ok, text, remedy, (clock.monotonic() - begun) * 1000)


def _token(file: Path | None) -> tuple[str | None, str | None]:
    """The token in `file`, or why there is none where one was to be."""
    if file is None:
        return None, None
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return None, f"{file}: {error.strerror if isinstance(error, OSError) else 'holds no token'}"
    return (text, None) if text and text.isprintable() and " " not in text else (None, f"{file} holds no token")


def _forbidden(subject: Subject, token: str | None) -> str | None:
    """Why the gateway would refuse an alert from here; a refusal would look as if Alertmanager's were lost."""
    if subject.settings.webhook_auth == "token" and token is None:
        return f"AUTOHEAL_WEBHOOK_AUTH=token: POST /alert asks for one, and there is none to show: {NO_TOKEN}"
    try:
        address = ip_address(httpx.URL(subject.url).host)
    except ValueError:
        return None
    networks = subject.settings.alert_allowlist
    if not networks or not subject.local or any(address in network for network in networks):
        return None
    return f"AUTOHEAL_ALERT_ALLOWLIST lets no alert in from {address}: add it, so that the pipe can be tested"


async def _access(gateway: Gateway) -> str:
    if not (await gateway.overview())["oidc"]:
        raise Skipped("OIDC_ENABLED=false: nobody shows tokens")
    answer = await gateway.get("/audit", {"n": "1"}, anonymous=True)
    if answer.status_code == 401 and "www-authenticate" in answer.headers:
        return "GET /audit without a token: 401"
    what = f"GET /audit without a token was answered {answer.status_code}, not 401"
    raise Failed(what, "close the address to others until it is known why: strangers must not read the log")


async def _shows_token(gateway: Gateway, unreadable: str | None) -> str:
    if not (await gateway.overview())["oidc"]:
        raise Skipped("OIDC_ENABLED=false: nobody shows tokens")
    if unreadable is not None:
        raise Failed(unreadable, f"{NO_TOKEN}, must name a file with an access token")
    if gateway.token is None:
        raise Skipped(f"no token to show: {NO_TOKEN}")
    answer = await gateway.get("/audit", {"n": "1"})
    if answer.status_code == 200:
        return "GET /audit with a token: 200"
    remedy = {
        401: "has it expired? is it for OIDC_AUDIENCE? docs/security.md says what a token needs",
        403: "it must have the role viewer: see OIDC_ROLE_MAP",
        503: "the identity provider's keys are missing: see the check keys",
    }.get(answer.status_code, "the service's own log says why")
    raise Failed(f"GET /audit with a token was answered {answer.status_code}: {objection(answer)}", remedy)


async def _audit(subject: Subject) -> str:
    if not subject.local:
        raise Skipped("the log is on another machine: run autoheal selftest there")
    try:
        found = await asyncio.to_thread(verify_tail, subject.settings.data_dir, TAIL_BYTES)
    except OSError as error:
        path = subject.settings.data_dir / FILE_NAME
        raise Failed(
            f"{path} cannot be read: {error.strerror}", "see AUTOHEAL_DATA_DIR, and whose the file is"
        ) from None
    if found.problems:
        raise Failed(str(found.first), "autoheal audit verify tells of all of it; keep a copy of the files first")
    return f"seq {found.first_seq} to {found.last_seq} of the last file, unbroken"


async def _disk(gateway: Gateway, settings: Settings) -> str:
    told = await gateway.samples()
    free, low = told.get("autoheal_audit_free_bytes"), told.get("autoheal_audit_space_low")
    if free is None or low is None:
        raise Failed("GET /metrics tells nothing of the disk", "is it autoheal that answers there?")
    what = f"{free / 2**20:,.0f} MiB free"
    if low or free < settings.audit_min_free:
        what = f"{what}, less than AUTOHEAL_AUDIT_MIN_FREE ({settings.audit_min_free / 2**20:,.0f} MiB)"
        raise Failed(what, "no live run begins: see docs/runbooks/AutohealAuditSpaceLow.md")
    return what
