"""Sessions: their ids, their ends, and what the store gives away."""

from __future__ import annotations

from itertools import count

import pytest
from cryptography.exceptions import InvalidTag

from autoheal.model import Operator, Role
from autoheal.web.access import sessions
from autoheal.web.access.sessions import ABSOLUTE_SECONDS, IDLE_SECONDS, MAX_PER_SUBJECT, Sessions, Tokens
from tests.support.clock import FakeClock

TOKENS = Tokens("header.id-token.signature", "the-refresh-token")


def someone(subject: str = "olga") -> Operator:
    return Operator(subject, Role.OPERATOR, None, None)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Sessions:
    return Sessions(clock)


def test_an_id_is_256_random_bits(clock: FakeClock) -> None:
    """In base64url, and each session has its own."""
    numbers = count()
    store = Sessions(clock, lambda n: next(numbers).to_bytes(n, "big"))
    first, second = (store.begin(someone(), TOKENS, None) for _ in range(2))
    assert first != second
    assert len(first) == len(second) == 43


def test_only_the_id_finds_it(store: Sessions) -> None:
    """Neither another id, nor none, nor the hash that the store keeps."""
    key = store.begin(someone(), TOKENS, None)
    session = store.find(key, used=True)
    assert session is not None
    assert session.operator == someone()
    (kept,) = store._by_hash
    for other in ("", key[:-1], key + "A", kept.hex(), "é"):
        assert store.find(other, used=True) is None


def test_the_store_holds_neither_id_nor_tokens_in_the_clear(store: Sessions) -> None:
    """Whoever reads its memory cannot use what is there."""
    key = store.begin(someone(), TOKENS, None)
    held = repr([(place, session, session.sealed) for place, session in store._by_hash.items()])
    for secret in (key, "id-token", "the-refresh-token"):
        assert secret not in held


def test_tokens_open_under_their_own_id_alone(store: Sessions) -> None:
    """Sealed for one id, they are noise under another, also when moved there."""
    key, other = store.begin(someone(), TOKENS, None), store.begin(someone(), Tokens("x.y.z", None), None)
    session, second = store.find(key, used=False), store.find(other, used=False)
    assert session is not None
    assert second is not None
    assert store.tokens(key, session) == TOKENS
    assert store.tokens(other, second) == Tokens("x.y.z", None)
    with pytest.raises(InvalidTag):
        store.tokens(other, session)
    session.sealed = session.sealed[:-1] + bytes([session.sealed[-1] ^ 1])
    with pytest.raises(InvalidTag):
        store.tokens(key, session)


async def test_it_ends_after_half_an_hour_without_a_request(store: Sessions, clock: FakeClock) -> None:
    """Each request begins the half hour anew; a look that is no request does not."""
    key = store.begin(someone(), TOKENS, None)
    await clock.advance(IDLE_SECONDS - 1)
    assert store.find(key, used=True) is not None
    await clock.advance(IDLE_SECONDS - 1)
    assert store.find(key, used=False) is not None
    await clock.advance(1)
    assert store.find(key, used=True) is None
    assert len(store) == 0


async def test_it_ends_eight_hours_after_the_login(store: Sessions, clock: FakeClock) -> None:
    """However busy it is, and however often it is renewed."""
    key = store.begin(someone(), TOKENS, None)
    for _ in range(int(ABSOLUTE_SECONDS / 600) - 1):
        await clock.advance(600)
        session = store.find(key, used=True)
        assert session is not None
        store.renew(key, session, someone(), TOKENS, None)
    await clock.advance(599)
    assert store.find(key, used=True) is not None
    await clock.advance(1)
    assert store.find(key, used=True) is None


def test_an_ended_one_is_gone(store: Sessions) -> None:
    """At once, and a second end is none."""
    key = store.begin(someone(), TOKENS, None)
    ended = store.end(key)
    assert ended is not None
    assert ended.operator.subject == "olga"
    assert store.find(key, used=True) is None
    assert store.end(key) is None


def test_renewed_it_goes_on_with_what_is_new(store: Sessions) -> None:
    """The role, the tokens, the time of the next renewal."""
    key = store.begin(someone(), TOKENS, 10.0)
    session = store.find(key, used=True)
    assert session is not None
    store.renew(key, session, Operator("olga", Role.VIEWER, None, None), Tokens("new", None), 20.0)
    again = store.find(key, used=True)
    assert again is not None
    assert (again.operator.role, again.renew_at, store.tokens(key, again)) == (Role.VIEWER, 20.0, Tokens("new", None))


def test_one_person_has_twenty_at_most(store: Sessions) -> None:
    """A further login ends the one that was unused for longest, and nobody else's."""
    other = store.begin(someone("nina"), TOKENS, None)
    own = [store.begin(someone(), TOKENS, None) for _ in range(MAX_PER_SUBJECT)]
    assert store.find(own[0], used=True) is not None
    own.append(store.begin(someone(), TOKENS, None))
    assert [key for key in own if store.find(key, used=False) is None] == [own[1]]
    assert store.find(other, used=False) is not None


def test_all_together_are_bounded(store: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the one that was unused for longest makes room."""
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    keys = [store.begin(someone(f"person-{number}"), TOKENS, None) for number in range(3)]
    assert store.find(keys[0], used=True) is not None
    keys.append(store.begin(someone("one more"), TOKENS, None))
    assert len(store) == 3
    assert [key for key in keys if store.find(key, used=False) is None] == [keys[1]]


async def test_those_that_are_over_make_room_first(
    store: Sessions, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store full of sessions that nobody came back to ends none that lives."""
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    for number in range(2):
        store.begin(someone(f"gone-{number}"), TOKENS, None)
    await clock.advance(IDLE_SECONDS - 1)
    living = store.begin(someone("living"), TOKENS, None)
    await clock.advance(1)
    store.begin(someone("one more"), TOKENS, None)
    assert len(store) == 2
    assert store.find(living, used=False) is not None
