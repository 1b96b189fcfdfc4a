"""When keys are fetched, by whom it may be caused, and what holds while they cannot be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from autoheal.errors import FailureReason, KeysUnavailable, Unauthenticated
from autoheal.metrics import Metrics
from autoheal.oidc import Oidc
from tests.support.clock import FakeClock, settle
from tests.support.identity import ISSUER, IdentityProvider, SigningKey, make, status, token, unreachable

ONE, TWO = SigningKey(), SigningKey("two", which=1)


@asynccontextmanager
async def running(oidc: Oidc) -> AsyncIterator[None]:
    """With its background task, first fetch done."""
    task = asyncio.create_task(oidc.run())
    await settle()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def reason_of(oidc: Oidc, text: str) -> FailureReason:
    with pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(text)
    return caught.value.reason


def sample(metrics: Metrics, name: str) -> float:
    """The one sample of that name, labels aside."""
    (found,) = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", metrics.expose()[0].decode(), re.MULTILINE)
    return float(found)


async def test_keys_are_fetched_ahead_of_need(provider: IdentityProvider, clock: FakeClock) -> None:
    """Each fetch comes before the TTL ends, so no request ever meets a stale set or waits."""
    oidc = make(provider, clock)
    async with running(oidc):
        assert provider.fetches == 1
        for number in range(2, 6):
            await clock.advance(254)  # 300 less 30 to 60, here the middle
            assert provider.fetches == number - 1
            await clock.advance(1)
            assert provider.fetches == number
            assert (await oidc.authenticate(token(clock))).subject == "alice"


async def test_discovery_is_asked_for_each_hour_only(provider: IdentityProvider, clock: FakeClock) -> None:
    """Addresses rarely change."""
    async with running(make(provider, clock)):
        await clock.advance(3600)
        documents = len(provider.asked) - provider.fetches
        assert (documents, provider.fetches) == (1, 15)
        await clock.advance(300)
        assert len(provider.asked) - provider.fetches == 2


async def test_keys_may_lie_elsewhere(provider: IdentityProvider, clock: FakeClock) -> None:
    """With OIDC_JWKS_URI there is no discovery, and `iss` must be the issuer as it is set."""
    oidc = make(provider, clock, jwks_uri=f"{ISSUER}/keys", issuer=ISSUER)
    async with running(oidc):
        assert provider.asked == ["/realms/ops/keys"]
        assert (await oidc.authenticate(token(clock))).subject == "alice"
        assert await reason_of(oidc, token(clock, iss=f"{ISSUER}/")) is FailureReason.WRONG_ISSUER
        with pytest.raises(KeysUnavailable):
            await oidc.provider()


async def test_the_document_spells_the_issuer_wherever_the_keys_lie(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    """Auth0's ends with a slash that OIDC_ISSUER may lack: where logins need the document, `iss` is as it says."""
    provider.document["issuer"] = f"{ISSUER}/"
    oidc = make(provider, clock, jwks_uri=f"{ISSUER}/keys", client_id="console")
    async with running(oidc):
        assert (await oidc.authenticate(token(clock, iss=f"{ISSUER}/"))).subject == "alice"
        assert await reason_of(oidc, token(clock)) is FailureReason.WRONG_ISSUER


async def test_logins_need_discovery_all_the_same(provider: IdentityProvider, clock: FakeClock) -> None:
    """With a client the addresses are learnt beside OIDC_JWKS_URI, and tokens do without when that fails."""
    oidc = make(provider, clock, jwks_uri=f"{ISSUER}/keys", client_id="console")
    provider.document = httpx.Response(500)
    async with running(oidc):
        assert (await oidc.authenticate(token(clock))).subject == "alice"
        with pytest.raises(KeysUnavailable):
            await oidc.provider()
        provider.document = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/other", "token_endpoint": f"{ISSUER}/token"}
        await clock.advance(300)
        assert (await oidc.provider()).token_endpoint == f"{ISSUER}/token"
    assert "/realms/ops/other" not in provider.asked


async def test_a_refresh_is_retried_with_growing_pauses(
    provider: IdentityProvider, clock: FakeClock, metrics: Metrics
) -> None:
    """Three retries after at most 0.25, 0.5 and 1 s (here the half of each), then about 30 s of rest."""
    provider.broken = unreachable
    with capture_logs() as logs:
        async with running(make(provider, clock, metrics)):
            for pause, asked in ((0.125, 2), (0.25, 3), (0.5, 4)):
                await clock.advance(pause - 0.01)
                assert len(provider.asked) == asked - 1
                await clock.advance(0.01)
                assert len(provider.asked) == asked
            await clock.advance(29.9)
            assert len(provider.asked) == 4
            await clock.advance(0.2)
            assert len(provider.asked) == 5
    (failed,) = [entry for entry in logs if entry["event"] == "jwks_refresh_failed"]
    assert "connection refused" in failed["error"]
    assert sample(metrics, "autoheal_jwks_refresh_errors_total") == 5


@pytest.mark.parametrize(("code", "again"), [(429, True), (500, True), (503, True), (400, False), (404, False)])
async def test_only_what_may_pass_is_retried(
    provider: IdentityProvider, clock: FakeClock, code: int, *, again: bool
) -> None:
    """An address that does not exist will not in a second either."""
    provider.broken = status(code)
    async with running(make(provider, clock)):
        await clock.advance(5)
        assert len(provider.asked) == (4 if again else 1)


async def test_the_provider_may_be_away_for_an_hour(
    provider: IdentityProvider, clock: FakeClock, metrics: Metrics
) -> None:
    """Keys serve on, counted as stale after their TTL; an hour after the last success the answer is 503, not 401.

    When the provider is back, the service recovers by itself.
    """
    oidc = make(provider, clock, metrics)
    async with running(oidc):
        provider.broken = unreachable
        await clock.advance(299)
        await oidc.authenticate(token(clock))
        assert sample(metrics, "autoheal_jwks_stale_served_total") == 0
        await clock.advance(2)
        held = token(clock, exp=clock.now() + 10_000)
        await oidc.authenticate(held)
        await oidc.authenticate(held)  # from memory
        assert sample(metrics, "autoheal_jwks_stale_served_total") == 2
        await clock.advance(3298)
        assert (await oidc.authenticate(held)).subject == "alice"
        assert sample(metrics, "autoheal_jwks_age_seconds") == 3599
        await clock.advance(2)
        for text in (held, token(clock, sub="bob"), token(clock, header={"kid": "new"})):
            with pytest.raises(KeysUnavailable) as caught:
                await oidc.authenticate(text)
            assert 1 <= caught.value.retry_after <= 45
            assert "idp" not in str(caught.value)
        assert sample(metrics, "autoheal_jwt_keys_loaded") == 0
        provider.broken = None
        await clock.advance(45)
        assert (await oidc.authenticate(held)).subject == "alice"
        assert sample(metrics, "autoheal_jwt_keys_loaded") == 1


async def test_a_request_waits_for_the_first_keys(provider: IdentityProvider, clock: FakeClock) -> None:
    """A start is no reason for a 503 when the keys are on their way."""
    oidc = make(provider, clock)
    provider.gate.clear()
    async with running(oidc):
        asking = asyncio.create_task(oidc.authenticate(token(clock)))
        where = asyncio.create_task(oidc.provider())
        await settle()
        assert not asking.done()
        provider.gate.set()
        assert (await asking).subject == "alice"
        assert (await where).issuer == ISSUER
    assert provider.fetches == 1


async def test_without_keys_the_answer_is_503(provider: IdentityProvider, clock: FakeClock) -> None:
    """And not 401: a sender that is told so would not try again. The provider is not asked by requests."""
    provider.broken = unreachable
    oidc = make(provider, clock)
    async with running(oidc):
        await clock.advance(2)
        asked = len(provider.asked)
        for ask in (oidc.authenticate(token(clock)), oidc.provider()):
            with pytest.raises(KeysUnavailable) as caught:
                await ask
            assert caught.value.retry_after == 29
        assert len(provider.asked) == asked


async def test_a_wait_for_keys_is_bounded(provider: IdentityProvider, clock: FakeClock) -> None:
    """A provider that does not answer does not hold requests for as long as all its retries take."""
    oidc = make(provider, clock, refresh_timeout=-0.99)  # and 1 s
    provider.gate.clear()
    async with running(oidc):
        with pytest.raises(KeysUnavailable):
            await oidc.authenticate(token(clock))


async def test_a_new_key_is_found_at_once(provider: IdentityProvider, clock: FakeClock, metrics: Metrics) -> None:
    """Rotation: the first token by a new key makes the keys be fetched; the old key leaves with the next set."""
    oidc = make(provider, clock, metrics)
    async with running(oidc):
        old = token(clock, ONE)
        await oidc.authenticate(old)
        provider.keys = {"keys": [ONE.jwk(), TWO.jwk()]}
        assert (await oidc.authenticate(token(clock, TWO))).subject == "alice"
        assert (await oidc.authenticate(old)).subject == "alice"
        assert provider.fetches == 2
        assert sample(metrics, "autoheal_jwt_key_rotations_total") == 1
        provider.keys = {"keys": [TWO.jwk()]}
        await clock.advance(255)
        assert (await oidc.authenticate(token(clock, TWO))).subject == "alice"
        assert await reason_of(oidc, token(clock, ONE)) is FailureReason.UNKNOWN_KID
        assert sample(metrics, "autoheal_jwt_key_retirements_total") == 1
        assert sample(metrics, "autoheal_jwt_active_key_age_seconds") == 255
        assert 'kid="two"' in metrics.expose()[0].decode()


async def test_a_withdrawn_key_is_forgotten_with_its_tokens(provider: IdentityProvider, clock: FakeClock) -> None:
    """What was verified by the old set is verified anew by the next, whatever was remembered."""
    oidc = make(provider, clock)
    await oidc.refresh()
    held = token(clock, ONE)
    await oidc.authenticate(held)
    provider.keys = {"keys": [TWO.jwk()]}
    assert await oidc.refresh() == 1
    assert await reason_of(oidc, held) is FailureReason.UNKNOWN_KID


async def test_a_key_that_changes_under_its_kid_counts(provider: IdentityProvider, clock: FakeClock) -> None:
    """A kid is only a name: another key of that name verifies no token of the first."""
    oidc = make(provider, clock)
    await oidc.refresh()
    held = token(clock, ONE)
    await oidc.authenticate(held)
    provider.keys = {"keys": [TWO.jwk(kid="one")]}
    await oidc.refresh()
    assert await reason_of(oidc, held) is FailureReason.INVALID_SIGNATURE


async def test_unknown_kids_share_one_fetch(oidc: Oidc, provider: IdentityProvider, clock: FakeClock) -> None:
    """A hundred at once make one request, and all of them have its outcome."""
    provider.keys = {"keys": [ONE.jwk(), TWO.jwk()]}
    provider.gate.clear()
    asking = [asyncio.create_task(oidc.authenticate(token(clock, TWO, sub=f"u{n}"))) for n in range(100)]
    await settle()
    provider.gate.set()
    assert {who.subject for who in await asyncio.gather(*asking)} == {f"u{n}" for n in range(100)}
    assert provider.asked == ["/realms/ops/keys"]


async def test_refreshes_share_one_fetch(oidc: Oidc, provider: IdentityProvider) -> None:
    """However many ask for it: those who come while one is under way have one more, which began after they asked."""
    assert await asyncio.gather(*(oidc.refresh() for _ in range(5))) == [1] * 5
    assert provider.fetches == 2


async def test_a_refresh_is_not_content_with_an_answer_from_before(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    """A key was withdrawn while a fetch that had it was still on its way: it is gone when the refresh is done."""
    oidc = make(provider, clock, jwks_uri=f"{ISSUER}/keys")
    answers = [[ONE.jwk(), TWO.jwk()], [ONE.jwk()], [ONE.jwk()]]
    provider.broken = lambda _: httpx.Response(200, json={"keys": answers.pop(0)})
    provider.gate.clear()
    under_way = asyncio.create_task(oidc.refresh())
    await settle()
    asked = asyncio.create_task(oidc.refresh())
    await settle()
    provider.gate.set()
    assert await asyncio.gather(under_way, asked) == [2, 1]
    with pytest.raises(Unauthenticated):
        await oidc.authenticate(token(clock, TWO))


async def test_a_caller_that_goes_away_takes_nothing_with_it(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock
) -> None:
    """The one whose request began the fetch may hang up; the others still get their keys."""
    provider.keys = {"keys": [ONE.jwk(), TWO.jwk()]}
    provider.gate.clear()
    first, second = (asyncio.create_task(oidc.authenticate(token(clock, TWO))) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    provider.gate.set()
    assert (await second).subject == "alice"
    assert provider.fetches == 1


async def test_a_flood_of_unknown_kids_is_one_request_in_30_s(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock
) -> None:
    """Attempts count, whatever comes of them, so a stranger cannot make us flood the provider."""
    for seconds, expected in ((0, 1), (29.9, 1), (0.1, 2), (29, 2), (2, 3)):
        await clock.advance(seconds)
        for number in range(50):
            assert await reason_of(oidc, token(clock, header={"kid": f"k{number}"})) is FailureReason.UNKNOWN_KID
        assert provider.fetches == expected


@pytest.mark.parametrize("broken", [unreachable, status(500), status(404)], ids=["away", "500", "404"])
async def test_failed_attempts_count_too(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock, broken: object
) -> None:
    """While the provider fails, an unknown kid is 503: nobody knows whether it has such a key. Known ones go on."""
    provider.broken = broken  # type: ignore[assignment]
    for number in range(20):
        with pytest.raises(KeysUnavailable) as caught:
            await oidc.authenticate(token(clock, header={"kid": f"k{number}"}))
        assert caught.value.retry_after == 30
    assert (await oidc.authenticate(token(clock))).subject == "alice"
    assert provider.fetches == 1
    provider.broken = None
    await clock.advance(30)
    assert await reason_of(oidc, token(clock, header={"kid": "k"})) is FailureReason.UNKNOWN_KID
    assert provider.fetches == 2


async def test_an_unknown_kid_waits_for_a_fetch_under_way_then_asks_itself(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock
) -> None:
    """One that began before the key was there may miss it."""
    provider.gate.clear()
    forced = asyncio.create_task(oidc.refresh())
    await settle()
    asking = asyncio.create_task(oidc.authenticate(token(clock, TWO)))
    await settle()
    provider.gate.set()
    await settle()
    assert await forced == 1
    with pytest.raises(Unauthenticated):
        await asking
    assert provider.fetches == 2


@pytest.mark.parametrize(
    "changes",
    [{"iss": "https://evil.example"}, {"aud": "other"}, {"exp": 1}, {"typ": "ID"}, {"sub": "system"}],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_token_that_is_not_for_us_asks_for_nothing(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock, changes: dict[str, object]
) -> None:
    """Its claims are looked at first: they cost nothing, and a fetch would."""
    assert await reason_of(oidc, token(clock, TWO, **changes)) is not FailureReason.UNKNOWN_KID
    assert provider.asked == []


async def test_without_a_kid_the_only_key_that_fits_is_taken(clock: FakeClock) -> None:
    """With two that fit, which one is meant would be a guess; nothing is fetched for it."""
    curve = SigningKey("curve", "ES256")
    provider = IdentityProvider(ONE, curve)
    oidc = make(provider, clock)
    await oidc.refresh()
    assert (await oidc.authenticate(token(clock, ONE, header={"kid": None}))).subject == "alice"
    assert (await oidc.authenticate(token(clock, curve, header={"kid": None}))).subject == "alice"
    provider.keys["keys"].append(TWO.jwk())
    await oidc.refresh()
    asked = len(provider.asked)
    assert await reason_of(oidc, token(clock, ONE, header={"kid": None})) is FailureReason.UNKNOWN_KID
    assert len(provider.asked) == asked


@pytest.mark.parametrize(
    "answer",
    [
        {"keys": []},
        {"keys": {}},
        {},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]},
        {"keys": [{**ONE.jwk(), "alg": "RS384"}]},
        {"keys": [ONE.jwk()] * 101},
        {"keys": [ONE.jwk(), TWO.jwk(kid="one")]},
        httpx.Response(200, text="<html>maintenance</html>"),
        httpx.Response(200, text='{"keys": [], "keys": []}'),
        httpx.Response(200, text='["keys"]'),
        httpx.Response(200, content=b"{" + b" " * 65_536 + b"}"),
        httpx.Response(302, headers={"Location": "https://evil.example/keys"}),
        httpx.Response(204),
    ],
)
async def test_what_is_no_usable_set_changes_nothing(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock, metrics: Metrics, answer: object
) -> None:
    """The keys in use stay in use, the failure is told and counted, and a redirect leads nowhere."""
    provider.keys = answer
    with capture_logs() as logs, pytest.raises(KeysUnavailable) as caught:
        await oidc.refresh()
    assert f"{ISSUER}/keys" in str(caught.value)
    assert [entry["event"] for entry in logs] == ["jwks_refresh_failed"]
    assert sample(metrics, "autoheal_jwks_refresh_errors_total") == 1
    assert sample(metrics, "autoheal_jwt_key_rotation_errors_total") == (0 if isinstance(answer, httpx.Response) else 1)
    assert (await oidc.authenticate(token(clock))).subject == "alice"
    assert provider.asked == ["/realms/ops/keys"]


async def test_an_answer_may_not_be_packed(oidc: Oidc, provider: IdentityProvider) -> None:
    """A few bytes could unpack to gigabytes."""

    class Packed(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError("is not to be read")
            yield b""

    provider.keys = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Packed())
    with pytest.raises(KeysUnavailable, match="Content-Encoding"):
        await oidc.refresh()


async def test_a_provider_that_drips_is_cut(provider: IdentityProvider, clock: FakeClock) -> None:
    """The timeout is for the whole answer."""
    oidc = make(provider, clock, refresh_timeout=0.01)
    provider.gate.clear()
    with pytest.raises(KeysUnavailable, match=r"did not answer within 0\.01 s"):
        await oidc.refresh()


async def test_a_set_is_taken_less_its_bad_keys(oidc: Oidc, provider: IdentityProvider, clock: FakeClock) -> None:
    """One weak or strange key does not take the others down; encryption keys are ordinary and not told of."""
    provider.keys = {
        "keys": [
            ONE.jwk(),
            TWO.jwk(d="AQAB"),
            TWO.jwk(kid="enc", use="enc"),
            SigningKey("weak", bits=1024, which=2).jwk(),
            "not a key",
            {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-65"},
        ]
    }
    with capture_logs() as logs:
        assert await oidc.refresh() == 1
        assert await oidc.refresh() == 1
    told = [entry["key"] for entry in logs if entry["event"] == "jwks_key_skipped"]
    assert [text.partition(":")[0] for text in told] == [
        "key 2 (two)",
        "key 4 (weak)",
        "key 5 (no kid)",
        "key 6 (post-quantum)",
    ]
    assert (await oidc.authenticate(token(clock))).subject == "alice"


async def test_duplicate_kids_are_dropped_and_told(
    oidc: Oidc, provider: IdentityProvider, clock: FakeClock, metrics: Metrics
) -> None:
    """Which of the two signed would be a guess; the others stay."""
    provider.keys = {"keys": [ONE.jwk(), TWO.jwk(), SigningKey("two", "ES256").jwk()]}
    with capture_logs() as logs:
        assert await oidc.refresh() == 1
    assert any("2 keys (two)" in str(entry.get("key")) for entry in logs)
    assert (await oidc.authenticate(token(clock))).subject == "alice"
    assert await reason_of(oidc, token(clock, TWO)) is FailureReason.UNKNOWN_KID


async def test_an_unexpected_fault_ends_no_loop(
    provider: IdentityProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a fetch meets, the next one comes."""
    oidc = make(provider, clock)

    def breaks(*_: object) -> None:
        raise RuntimeError("of ours")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("autoheal.oidc.source.read_key_set", breaks)
        task = asyncio.create_task(oidc.run())
        await settle()
    assert [entry["event"] for entry in logs] == ["jwks_refresh_broke", "jwks_refresh_failed"]
    await clock.advance(45)
    assert (await oidc.authenticate(token(clock))).subject == "alice"
    task.cancel()
    await asyncio.wait((task,))


async def test_a_stop_ends_a_fetch_under_way(provider: IdentityProvider, clock: FakeClock) -> None:
    """Nothing of it is left to run when the loop closes."""
    provider.gate.clear()
    before = asyncio.all_tasks()
    async with running(make(provider, clock)):
        assert len(asyncio.all_tasks() - before) == 2
    await settle()
    assert asyncio.all_tasks() == before


async def test_keys_that_moved_are_found(provider: IdentityProvider, clock: FakeClock) -> None:
    """When they are no longer where discovery said, discovery is asked again."""
    moved = "/realms/ops/v2/keys"
    oidc = make(provider, clock)
    async with running(oidc):
        provider.document["jwks_uri"] = f"https://idp.example{moved}"
        provider.broken = lambda request: (
            httpx.Response(410)
            if request.url.path.endswith("ops/keys")
            else httpx.Response(200, json=provider.document if "well-known" in request.url.path else provider.keys)
        )
        await clock.advance(255 + 45)
        assert provider.asked[-1] == moved
        await clock.advance(3500)
        assert (await oidc.authenticate(token(clock))).subject == "alice"


async def test_discovery_that_fails_later_changes_nothing(provider: IdentityProvider, clock: FakeClock) -> None:
    """The addresses known are gone on with."""
    oidc = make(provider, clock)
    async with running(oidc):
        provider.document = httpx.Response(500)
        with capture_logs() as logs:
            await clock.advance(7200)
        assert "discovery_failed" in {entry["event"] for entry in logs}
        assert (await oidc.authenticate(token(clock))).subject == "alice"
        assert (await oidc.provider()).token_endpoint == f"{ISSUER}/token"


async def test_the_log_tells_how_many_keys_there_are(provider: IdentityProvider, clock: FakeClock) -> None:
    """With each refresh."""
    provider.keys["keys"].append(TWO.jwk())
    with capture_logs() as logs:
        await make(provider, clock).refresh()
    assert [(entry["event"], entry["key_count"]) for entry in logs] == [("jwks_refreshed", 2)]


async def test_kids_are_labels_of_bounded_length(
    provider: IdentityProvider, clock: FakeClock, metrics: Metrics
) -> None:
    """And printable: a provider can name its keys as it likes."""
    provider.keys = {"keys": [ONE.jwk(kid="k" * 500 + "\n")]}
    await make(provider, clock, metrics).refresh()
    (label,) = re.findall(r'active_key_age_seconds\{.*kid="(.*?)"', metrics.expose()[0].decode())
    assert label == "k" * 61 + "..."
