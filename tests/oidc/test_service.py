"""What is remembered of verified tokens, and how much is told of refused ones."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from autoheal.errors import FailureReason, Unauthenticated
from autoheal.metrics import Metrics
from autoheal.oidc import Oidc, service
from tests.support.clock import FakeClock
from tests.support.identity import IdentityProvider, SigningKey, make, settings, status, token


def validations(metrics: Metrics) -> int:
    """How many tokens were judged, and not remembered."""
    text = metrics.expose()[0].decode()
    (line,) = [line for line in text.splitlines() if line.startswith("autoheal_jwt_validation_duration_seconds_count")]
    return int(float(line.split()[1]))


async def test_a_token_is_verified_once(oidc: Oidc, clock: FakeClock, metrics: Metrics) -> None:
    """The same again is remembered: the same operator, until it expires."""
    held = token(clock)
    first = await oidc.authenticate(held)
    assert await oidc.authenticate(held) is first
    assert validations(metrics) == 1
    clock.set_now(clock.now() + 359)
    assert await oidc.authenticate(held) is first
    clock.set_now(clock.now() + 1)
    with pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(held)
    assert caught.value.reason is FailureReason.EXPIRED


async def test_refused_tokens_are_not_remembered(oidc: Oidc, clock: FakeClock, metrics: Metrics) -> None:
    """A token that is not valid yet will be."""
    held = token(clock, nbf=clock.now() + 61)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await oidc.authenticate(held)
    assert validations(metrics) == 2
    clock.set_now(clock.now() + 1)
    assert (await oidc.authenticate(held)).subject == "alice"


async def test_every_token_counts_as_judged(oidc: Oidc, clock: FakeClock, metrics: Metrics) -> None:
    """Accepted, remembered and refused ones: what a share of refused ones is a share of. No token is none."""
    held = token(clock)
    await oidc.authenticate(held)
    await oidc.authenticate(held)
    for none in ("no token", None):
        with pytest.raises(Unauthenticated):
            await oidc.authenticate(none)
    assert "autoheal_jwt_validations_total 3.0" in metrics.expose()[0].decode()


async def test_the_same_keys_again_forget_nothing(oidc: Oidc, clock: FakeClock, metrics: Metrics) -> None:
    """A refresh that changes nothing costs nothing."""
    held = token(clock)
    await oidc.authenticate(held)
    await oidc.refresh()
    await oidc.authenticate(held)
    assert validations(metrics) == 1


async def test_memory_is_bounded(
    oidc: Oidc, clock: FakeClock, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest gives way."""
    monkeypatch.setattr(service, "CACHE_SIZE", 2)
    held = [token(clock, sub=f"u{n}") for n in range(3)]
    for text in held:
        await oidc.authenticate(text)
    await oidc.authenticate(held[1])
    await oidc.authenticate(held[2])
    assert validations(metrics) == 3
    await oidc.authenticate(held[0])
    assert validations(metrics) == 4


async def test_keys_that_change_while_a_token_waits(provider: IdentityProvider, clock: FakeClock) -> None:
    """What is verified by the new set is remembered by the new set."""
    metrics = Metrics()
    oidc = make(provider, clock, metrics)
    await oidc.refresh()
    new = SigningKey("two", which=1)
    provider.keys = {"keys": [new.jwk()]}
    held = token(clock, new)
    for _ in range(3):
        assert (await oidc.authenticate(held)).subject == "alice"
    assert validations(metrics) == 2


async def test_no_token_is_kept(oidc: Oidc, clock: FakeClock) -> None:
    """A dump of the memory holds digests, with which nobody can ask for anything."""
    held = token(clock)
    await oidc.authenticate(held)
    assert oidc._verified
    assert held not in str(vars(oidc))


async def test_a_flood_of_bad_tokens_is_a_trickle_in_the_log(oidc: Oidc, clock: FakeClock, metrics: Metrics) -> None:
    """At most 60 lines a minute for each reason; the next line says how many were left out. All are counted."""

    async def refuse(times: int, text: str) -> None:
        for _ in range(times):
            with pytest.raises(Unauthenticated):
                await oidc.authenticate(text)

    with capture_logs() as logs:
        await refuse(100, "x")
        await refuse(1, token(clock, aud="other"))
        assert [entry["reason"] for entry in logs] == ["malformed"] * 60 + ["wrong_audience"]
        await clock.advance(60)
        await refuse(2, "x")
    assert [entry.get("not_logged_before") for entry in logs[-2:]] == [40, None]
    assert 'failures_total{reason="malformed"} 102.0' in metrics.expose()[0].decode()


async def test_a_kid_in_the_log_is_short_and_printable(oidc: Oidc, clock: FakeClock) -> None:
    """It is the sender's choice, and must not forge lines or fill them."""
    with capture_logs() as logs:
        for kid in ("a\nb\x1b[31m\u202e", "k" * 5000):
            with pytest.raises(Unauthenticated):
                await oidc.authenticate(token(clock, header={"kid": kid}))
    assert [entry["kid"] for entry in logs if "kid" in entry] == ["a?b?[31m?", "k" * 61 + "..."]


async def test_an_outage_is_no_refusal(provider: IdentityProvider, clock: FakeClock, metrics: Metrics) -> None:
    """Nothing is known against a token whose key cannot be fetched: it is counted as that, and not told as refused."""
    oidc = make(provider, clock, metrics)
    await oidc.refresh()
    provider.broken = status(500)
    with capture_logs() as logs, pytest.raises(Exception, match="cannot be fetched now"):
        await oidc.authenticate(token(clock, header={"kid": "new"}))
    assert [entry["event"] for entry in logs] == ["jwks_refresh_failed"]
    assert [
        line
        for line in metrics.expose()[0].decode().splitlines()
        if line.startswith("autoheal_jwt_auth_failures_total{") and not line.endswith(" 0.0")
    ] == ['autoheal_jwt_auth_failures_total{reason="keys_unavailable"} 1.0']


async def test_times_are_spread_by_chance_of_its_own(clock: FakeClock) -> None:
    """A fleet that starts at once does not ask at once: without a source passed in there is one."""
    oidc = Oidc(settings(), IdentityProvider().http, clock=clock, metrics=Metrics())
    assert await oidc.refresh() == 1
