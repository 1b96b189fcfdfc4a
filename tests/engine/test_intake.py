"""What a notification changes: episodes, suspects, supersession (DESIGN, section 5)."""

from __future__ import annotations

import dataclasses

from autoheal.engine.intake import batches, hide, rejections, take_in
from autoheal.journal.record import seal_all
from autoheal.model import Alert, AlertStatus, Kind, Notification, Rejected
from autoheal.redaction import HiddenNames, Redaction
from autoheal.slices import at_once
from autoheal.state import State

NOW = 1_790_000_000.0
FP = "df55e08d194b261e"
REDACTION = Redaction(HiddenNames(["secret*"]), b"key")


def firing(starts_at: float, fingerprint: str = FP) -> Alert:
    return Alert(AlertStatus.FIRING, fingerprint, {"alertname": "Down", "secretish": "s3cret"}, {}, starts_at)


def resolved(starts_at: float, ends_at: float, fingerprint: str = FP) -> Alert:
    return Alert(AlertStatus.RESOLVED, fingerprint, {"alertname": "Down"}, {}, starts_at, ends_at)


class Told:
    """A state that is told of alerts, one batch after another."""

    def __init__(self) -> None:
        self.state = State()
        self.kinds: list[str] = []

    def tell(self, *alerts: Alert, at: float, can_ask: bool = False, confirmed: bool = False) -> list[str]:
        said: list[str] = []
        for batch in batches(alerts):
            intake = take_in(
                self.state,
                batch,
                now=at,
                how="webhook",
                correlation_id="c",
                can_ask=can_ask,
                confirmed=confirmed,
            )
            records = seal_all(intake.drafts, self.state.head, at)
            for record in records:
                self.state.apply(record)
                how = record.detail.get("how", "")
                said.append(record.kind.value + (f" {how}" if how not in ("webhook", "") else ""))
        return said


def test_a_repeat_is_not_recorded_again() -> None:
    """An HA duplicate or a repeat of an open alert, startsAt up to a minute apart, changes nothing."""
    told = Told()
    assert told.tell(firing(NOW), at=NOW) == ["alert_firing"]
    assert told.tell(firing(NOW), firing(NOW + 60), firing(NOW - 45), at=NOW + 5) == []
    assert len(told.state.episodes) == 1


def test_a_later_start_supersedes_the_open_episode() -> None:
    """A firing whose startsAt is more than a minute after the episode's own ends it and opens another."""
    told = Told()
    told.tell(firing(NOW), at=NOW)
    first = told.state.episodes[FP].id
    assert told.tell(firing(NOW + 60.001), at=NOW + 300) == ["alert_resolved superseded", "alert_firing"]
    assert told.state.episodes[FP].id != first


def test_a_stale_firing_after_the_end_is_a_suspect() -> None:
    """A slow HA peer's firing after the resolution opens no episode; a second one within a minute neither."""
    told = Told()
    told.tell(firing(NOW), at=NOW)
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 51) == ["alert_resolved"]
    assert told.tell(firing(NOW), at=NOW + 55) == ["alert_suspect"]
    assert told.tell(firing(NOW), at=NOW + 56) == []
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 60) == ["alert_resolved"]
    assert not told.state.episodes
    assert not told.state.suspects


def test_a_suspect_that_comes_again_later_opens_an_episode() -> None:
    """Without an Alertmanager to ask, a suspect that comes again more than 60 s later is believed."""
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 50), firing(NOW), at=NOW + 55)
    assert told.tell(firing(NOW), at=NOW + 115) == []
    assert told.tell(firing(NOW), at=NOW + 115.1) == ["alert_firing"]


def test_a_suspect_waits_for_the_api_when_there_is_one() -> None:
    """With an Alertmanager to ask, only its word opens the episode."""
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 50), firing(NOW), at=NOW + 55, can_ask=True)
    assert told.tell(firing(NOW), at=NOW + 600, can_ask=True) == []
    assert told.tell(firing(NOW), at=NOW + 601, can_ask=True, confirmed=True) == ["alert_firing"]


def test_a_new_firing_after_the_end_opens_an_episode() -> None:
    """A firing that began after the last known end is no suspect."""
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 50), at=NOW + 51)
    assert told.tell(firing(NOW + 50.5), at=NOW + 52) == ["alert_firing"]


def test_an_end_is_forgotten_after_a_day() -> None:
    """24 h after the end an old startsAt is taken at its word."""
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 50), at=NOW + 51)
    assert told.tell(firing(NOW), at=NOW + 51 + 86_401) == ["alert_firing"]


def test_an_end_in_the_future_is_now() -> None:
    """A sender whose clock runs ahead cannot make every firing until then a suspect."""
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 1e9), at=NOW + 51)
    assert told.tell(firing(NOW + 52), at=NOW + 53) == ["alert_firing"]


def test_an_end_never_seen_to_begin_is_remembered() -> None:
    """A resolution without an episode is news once: the stale firing behind it becomes a suspect."""
    told = Told()
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 51) == ["alert_resolved"]
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 52) == []
    assert told.tell(firing(NOW), at=NOW + 53) == ["alert_suspect"]


def test_a_late_word_on_a_firing_of_seconds_ago_does_not_end_this_one() -> None:
    """An alert that comes back at once: its first end, told again by a slow peer, is no end of its second firing,
    although the two began within a minute. A peer to whom this firing began and ended earlier is believed.
    """
    told = Told()
    told.tell(firing(NOW), resolved(NOW, NOW + 16), at=NOW + 16.1)
    assert told.tell(firing(NOW + 18), at=NOW + 18.1) == ["alert_firing"]
    assert told.tell(resolved(NOW, NOW + 16), at=NOW + 18.4) == []
    assert told.tell(resolved(NOW + 1, NOW + 17), at=NOW + 18.5) == []
    assert told.tell(resolved(NOW + 16.5, NOW + 17), at=NOW + 18.6) == ["alert_resolved"]


def test_a_late_word_on_the_firing_before_does_not_end_this_one() -> None:
    """A slow peer's resolution of an earlier firing leaves the open episode alone."""
    told = Told()
    told.tell(firing(NOW + 100), at=NOW + 101)
    assert told.tell(resolved(NOW - 500, NOW - 400), at=NOW + 102) == []
    assert FP in told.state.episodes


def test_a_start_in_the_future_holds_nothing_up() -> None:
    """A sender whose clock ran an hour ahead: repeats are one episode; its end and the next firing are seen."""
    told = Told()
    assert told.tell(firing(NOW + 3600), at=NOW) == ["alert_firing"]
    assert told.tell(firing(NOW + 3600), at=NOW + 300) == []
    assert told.tell(resolved(NOW, NOW + 400), at=NOW + 401) == ["alert_resolved"]
    assert told.tell(firing(NOW + 4100), at=NOW + 500) == ["alert_firing"]
    assert told.tell(firing(NOW + 900), at=NOW + 901) == ["alert_resolved superseded", "alert_firing"]


def test_a_long_address_is_cut() -> None:
    """Of the generator's URL 2,048 characters are kept: it is for people, and nothing is decided by it."""
    alert = dataclasses.replace(firing(NOW), generator_url="http://prometheus/" + "x" * 5000)
    (draft,) = take_in(State(), [alert], now=NOW, how="webhook").drafts
    assert draft.detail["generator_url"] == alert.generator_url[:2048]


def test_an_end_is_news_again_after_a_day() -> None:
    """What is forgotten after 24 hours is told anew: an end that a long outage kept back is recorded."""
    told = Told()
    told.tell(resolved(NOW, NOW + 50), at=NOW + 51)
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 51 + 86_399) == []
    assert told.tell(resolved(NOW, NOW + 50), at=NOW + 51 + 86_401) == ["alert_resolved"]


def test_what_is_hidden_reaches_neither_records_nor_rules() -> None:
    """Values that AUTOHEAL_REDACT names and credentials in URLs are replaced before anything else is done."""
    alert = dataclasses.replace(
        firing(NOW), annotations={"runbook": "see http://u:s3cret@wiki/x"}, generator_url="http://u:s3cret@prom/graph"
    )
    hidden = at_once(hide(Notification(alerts=(alert,)), REDACTION))
    assert "s3cret" not in repr(hidden)
    assert hidden.alerts[0].annotations == {"runbook": "see http://*@wiki/x"}
    assert hidden.alerts[0].generator_url == "http://*@prom/graph"
    assert hidden.alerts[0].labels["secretish"].startswith("[redacted:")
    assert at_once(hide(hidden, REDACTION)) == hidden


def test_a_redacted_alertname_is_redacted_everywhere() -> None:
    """The record's own alertname field repeats a label, in rejections too: it is no way around AUTOHEAL_REDACT."""
    names = Redaction(HiddenNames(["alertname"]), b"key")
    told = at_once(hide(Notification(alerts=(firing(NOW),), rejected=(Rejected(0, ("x",), alertname="Down"),)), names))
    intake = take_in(State(), told.alerts, now=NOW, how="webhook")
    said = rejections(told.rejected, "c")
    assert intake.drafts[0].alertname == said[0].alertname == names.of("alertname", "Down")


def test_an_alert_that_redaction_makes_too_large_is_rejected() -> None:
    """Four thousand empty hidden labels become four thousand tokens: that is no record, and no fault of ours."""
    many = dataclasses.replace(firing(NOW), labels={"alertname": "Down"} | {f"secret{n}": "" for n in range(3000)})
    told = at_once(hide(Notification(alerts=(firing(NOW), many)), REDACTION))
    assert [alert.labels["alertname"] for alert in told.alerts] == ["Down"]
    assert "too large once redacted" in told.rejected[0].faults[0]
    assert (told.rejected[0].index, told.rejected[0].fingerprint) == (1, FP)


def test_ids_are_the_seqs_of_their_records() -> None:
    """An episode's id is e<seq> of its alert_firing, also in the middle of a batch."""
    state = State()
    alerts = [firing(NOW, f"{i:016x}") for i in range(3)]
    records = seal_all(take_in(state, alerts, now=NOW, how="webhook").drafts, state.head, NOW)
    assert [record.episode for record in records] == [f"e{record.seq}" for record in records]
    assert all(record.kind is Kind.ALERT_FIRING for record in records)
