"""Freeze windows: what may be written, and when it is on, by every zone's own clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.rules.freeze import DAYS, Freeze
from tests.support.loading import faults

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu")


def window(**written: str) -> Freeze:
    return Freeze.model_validate({"from" if name == "from_" else name: value for name, value in written.items()})


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("written", "now", "until"),
    [
        # Each day, over midnight too, and on some days by the day on which it begins.
        (("22:00", "06:00", None), "2026-07-01 21:59", None),
        (("22:00", "06:00", None), "2026-07-01 22:00", "2026-07-02 06:00"),
        (("22:00", "06:00", None), "2026-07-02 05:59", "2026-07-02 06:00"),
        (("22:00", "06:00", None), "2026-07-02 06:00", None),
        (("22:00", "06:00", "Fri"), "2026-07-04 05:00", "2026-07-04 06:00"),
        (("22:00", "06:00", "Fri"), "2026-07-03 05:00", None),
        (("00:00", "24:00", "Sat, Sun"), "2026-07-04 00:00", "2026-07-05 00:00"),
        (("00:00", "24:00", "Sat, Sun"), "2026-07-06 00:00", None),
        (("09:00", "17:00", "Fri-Mon"), "2026-07-06 12:00", "2026-07-06 17:00"),
        (("09:00", "17:00", "Fri-Mon"), "2026-07-07 12:00", None),
        # Each week, over its end too, and all but an hour of it.
        (("Fri 16:00", "Mon 08:00", None), "2026-07-03 15:59", None),
        (("Fri 16:00", "Mon 08:00", None), "2026-07-03 16:00", "2026-07-06 08:00"),
        (("Fri 16:00", "Mon 08:00", None), "2026-07-06 07:59", "2026-07-06 08:00"),
        (("Mon 09:00", "Mon 08:00", None), "2026-07-06 08:30", None),
        (("Mon 09:00", "Mon 08:00", None), "2026-07-06 09:00", "2026-07-13 08:00"),
        (("Mon 09:00", "Mon 10:00", None), "2026-07-06 10:00", None),
        # Once.
        (("2026-12-20 18:00", "2027-01-04 08:00", None), "2026-12-20 17:59", None),
        (("2026-12-20 18:00", "2027-01-04 08:00", None), "2026-12-20 18:00", "2027-01-04 08:00"),
        (("2026-12-20 18:00", "2027-01-04 08:00", None), "2027-01-04 08:00", None),
        (("2026-12-24 00:00", "2026-12-24 24:00", None), "2026-12-24 23:59", "2026-12-25 00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_windows_by_the_clocks_of_their_zone(
    written: tuple[str, str, str | None], now: str, until: str | None, zone: str
) -> None:
    """From `from` until just before `to`, and the answer tells when it is over."""
    begin, end, days = written
    frozen = window(from_=begin, to=end, zone=zone, **({} if days is None else {"days": days}))
    assert frozen.until(at(now, zone)) == (None if until is None else at(until, zone))


def test_a_window_when_clocks_change() -> None:
    """A reading that is skipped or shown twice counts so that the window is the longer, never the shorter."""
    night = window(from_="02:15", to="02:45", zone="Europe/Berlin")
    # 25 October 2026: 02:00 to 03:00 comes twice.
    first, second = at("2026-10-25 02:30", "Europe/Berlin"), at("2026-10-25 02:30", "Europe/Berlin", fold=1)
    assert second - first == 3600
    assert night.until(first) == night.until(second) == at("2026-10-25 02:45", "Europe/Berlin", fold=1)
    # 29 March 2026: 02:00 to 03:00 does not come.
    assert night.until(at("2026-03-29 01:14", "Europe/Berlin")) is None
    assert night.until(at("2026-03-29 03:00", "Europe/Berlin")) == at("2026-03-29 03:45", "Europe/Berlin")
    # 1 November 2026: in Havana midnight comes twice, and with it the end of the day before.
    day = window(from_="00:00", to="24:00", days="Sat", zone="America/Havana")
    midnight = at("2026-11-01 00:00", "America/Havana")
    assert day.until(midnight + 60) == midnight + 3600
    assert day.until(midnight + 3600) is None
    # 8 March 2026: there 00:00 to 01:00 does not come; what begins then holds from an hour before.
    early = window(from_="00:30", to="05:00", days="Sun", zone="America/Havana")
    assert early.until(at("2026-03-07 23:30", "America/Havana")) == at("2026-03-08 05:00", "America/Havana")


times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


@given(
    first=times,
    last=times,
    weekly=st.none() | st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)),
    zone=st.sampled_from(ZONES),
    now=st.integers(1_760_000_000, 1_830_000_000),
)
def test_the_wall_clock_is_what_counts(
    first: str, last: str, weekly: tuple[str, str] | None, zone: str, now: int
) -> None:
    """Whatever the zone and the season: whoever reads a time within the window off the clock finds it frozen, and
    whoever does not finds it free, unless a change of the clocks is near; and `until` is an end indeed.
    """
    if weekly is None:
        begin, end = first, last
    else:
        begin, end = f"{weekly[0]} {first}", f"{weekly[1]} {last}"
    if begin == end:
        return
    frozen = window(from_=begin, to=end, zone=zone)
    local = datetime.fromtimestamp(now, ZoneInfo(zone))

    def minutes(weekday: int, time: str) -> int:
        return weekday * 1440 + int(time[:2]) * 60 + int(time[3:])

    span = 1440 if weekly is None else 7 * 1440
    since = minutes(0 if weekly is None else DAYS.index(weekly[0]), first)
    length = (minutes(0 if weekly is None else DAYS.index(weekly[1]), last) - since) % span
    inside = (minutes(local.weekday(), local.strftime("%H:%M")) - since) % span < length
    until = frozen.until(now)
    if inside:
        assert until is not None
        assert 0 < until - now <= (7 * 86_400 + 3600)
        assert (frozen.until(until) or until + 1) > until
        reading = datetime.fromtimestamp(until, ZoneInfo(zone)).strftime("%H:%M")
        assert reading == last or _changes_near(until, zone)
    else:
        assert until is None or _changes_near(now, zone)


def _changes_near(ts: float, zone: str) -> bool:
    moment = datetime.fromtimestamp(ts, UTC)
    around = [moment + timedelta(hours=hours) for hours in (-4, 4)]
    return len({each.astimezone(ZoneInfo(zone)).utcoffset() for each in around}) > 1


@pytest.mark.parametrize(
    ("freeze", "fault"),
    [
        ("{}", "3:10: 'from' is missing"),
        ("[]", "freeze: should be a mapping"),
        ("{from: 25:00, to: 06:00, zone: UTC}", "3:17: from: '25:00' is no time of day: they go from 00:00 to 24:00"),
        ("{from: 10:60, to: 06:00, zone: UTC}", "3:17: from: '10:60' is no time of day"),
        ("{from: 9, to: 06:00, zone: UTC}", "from: '9' should be written like 22:00, Fri 16:00 or 2026-12-20 18:00"),
        ("{from: Fri 9:00, to: Mon 06:00, zone: UTC}", "from: 'Fri 9:00' should be written like"),
        ("{from: 2026-02-30 09:00, to: 2026-03-01 09:00, zone: UTC}", "from: '2026-02-30 09:00' is no date"),
        ("{from: 0026-02-20 09:00, to: 2026-03-01 09:00, zone: UTC}", "is not between 2000 and 2999"),
        ("{from: 22:00, to: Mon 06:00, zone: UTC}", "3:10: freeze: `from` and `to` should be of one kind"),
        ("{from: 24:00, to: 06:00, zone: UTC}", "freeze: `from: 24:00` should be 00:00 of the next day"),
        ("{from: 06:00, to: 06:00, zone: UTC}", "freeze: `to` should be after `from`; a whole day is from 00:00"),
        ("{from: 2026-02-20 09:00, to: 2026-02-20 08:59, zone: UTC}", "freeze: `to` should be after `from`"),
        ("{from: Mon 06:00, to: Mon 07:00, zone: UTC, days: Mon}", "freeze: `days` is for a window of each day"),
        ("{from: 06:00, to: 07:00, zone: UTC, days: Monday}", "days: 'Monday' should be written like Mon-Fri or Sat"),
        ("{from: 06:00, to: 07:00, zone: UTC, days: [Mon]}", "days: \"['Mon']\" should be written like"),
        ("{from: 06:00, to: 07:00, zone: Europe/Berln}", "3:41: zone: 'Europe/Berln' is not a time zone that this"),
        ("{from: 06:00, to: 07:00, zone: ../../etc/passwd}", "zone: '../../etc/passwd' is not a time zone"),
        ("{from: 06:00, to: 07:00, zone: 5}", "zone: '5' is not a time zone"),
        ("{from: 06:00, to: 07:00}", "3:10: 'zone' is missing"),
        ("{from: 06:00, to: 07:00, zone: UTC, dayz: Mon}", "3:46: unknown key 'dayz': did you mean 'days'?"),
    ],
)
def test_what_is_no_window_is_a_fault_with_its_place(tmp_path: Path, freeze: str, fault: str) -> None:
    """A window that could be read in two ways, or never holds, is refused; also in a rule."""
    text = f"version: 1\nfreeze:\n  -      {freeze}\nrules: []\n"
    assert any(fault in found for found in faults(tmp_path, text)), faults(tmp_path, text)
    rule = f"version: 1\nrules: [{{name: a, match: a=b, mode: off, freeze: [{freeze}]}}]\n"
    assert len(faults(tmp_path, rule)) == len(faults(tmp_path, text))
