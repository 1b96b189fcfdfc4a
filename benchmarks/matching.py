"""What matching one alert costs with ten rules and with a thousand, indexed and naive, in one run.

.venv/bin/python benchmarks/matching.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from autoheal.rules.index import RuleIndex
from autoheal.rules.match import Matcher, all_match, parse_matchers

REPEATS = 5
ALERTS = 2000


def equalities(count: int) -> list[tuple[Matcher, ...]]:
    """Rules that name their alert."""
    return [parse_matchers(f'alertname="Alert{number}", service=~"api|web"') for number in range(count)]


def mixed(count: int) -> list[tuple[Matcher, ...]]:
    """Seven of ten rules name their alert, two have an alternation, one a regex on the alert's name."""
    kinds = ['alertname="Alert{0}"'] * 7 + ['alertname=~"Alert{0}|Other{0}"'] * 2 + ['alertname=~"Alert{0}[a-z]*"']
    return [parse_matchers(f'{kinds[n % 10].format(n)}, service=~"api|web"') for n in range(count)]


def regexes(count: int) -> list[tuple[Matcher, ...]]:
    """The worst: nothing but regexes on a label other than the alert's name."""
    return [parse_matchers(f'instance=~"host{number}-[0-9]+:.*"') for number in range(count)]


def naive(lists: list[tuple[Matcher, ...]]) -> Callable[[dict[str, str]], Iterable[int]]:
    """Ask every rule, in order."""
    return lambda labels: (position for position, matchers in enumerate(lists) if all_match(matchers, labels))


def microseconds(match: Callable[[dict[str, str]], Iterable[int]], count: int, alerts: int) -> float:
    """The best of some runs: time per alert until its first match is known."""
    labels = [
        {
            "alertname": f"Alert{number * 7 % count}",
            "service": "web",
            "instance": f"host{number * 7 % count}-1:9100",
            "severity": "page",
            "namespace": "prod",
        }
        for number in range(alerts)
    ]
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        for one in labels:
            next(iter(match(one)), None)
        best = min(best, time.perf_counter() - start)
    return best / alerts * 1e6


def main() -> None:
    """Print a line per kind of rules."""
    print(f"{'rules':<12}{'10, µs':>10}{'1000, µs':>10}{'ratio':>8}{'naive 1000, µs':>16}{'naive/index':>13}")
    for make in (equalities, mixed, regexes):
        few, many = make(10), make(1000)
        small = microseconds(RuleIndex(few).matching, 10, ALERTS)
        large = microseconds(RuleIndex(many).matching, 1000, ALERTS)
        loop = microseconds(naive(many), 1000, ALERTS // 10)
        print(f"{make.__name__:<12}{small:>10.2f}{large:>10.2f}{large / small:>8.2f}{loop:>16.1f}{loop / large:>13.0f}")


if __name__ == "__main__":
    main()
