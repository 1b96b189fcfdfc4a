"""What monitoring and people may do in a game of chance."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.games.ground import BROKEN
from tests.support.games.laws import ALERTS
from tests.support.games.pair import FORGETTING_SECONDS
from tests.support.games.world import World

alerts = st.integers(0, len(ALERTS) - 1)
some = st.lists(alerts, min_size=1, max_size=6, unique=True)
people = st.sampled_from(["ann", "bob"])
rules = st.sampled_from([None, "restart", "fail-over", "tidy"])
which = st.integers(0, 5)
targets = st.sampled_from("abcd")


class Moves(RuleBasedStateMachine):
    """Each is one thing that happens, or a few that seldom meet by chance."""

    world: World

    # What monitoring tells

    @rule(numbers=some, ago=st.sampled_from([0.0, 5.0, 30.0]))
    def fire(self, numbers: list[int], ago: float) -> None:
        self.world.fire(numbers, ago)

    @rule(number=alerts)
    def fire_one(self, number: int) -> None:
        self.world.fire([number])

    @rule(number=alerts, skew=st.integers(-25, 25))
    def fire_twice(self, number: int, skew: int) -> None:
        self.world.fire_twice(number, skew)

    @rule(number=alerts)
    def fire_anew(self, number: int) -> None:
        self.world.fire_anew(number)

    @rule(number=alerts)
    def fire_late(self, number: int) -> None:
        self.world.fire_late(number)

    @rule(numbers=some, told=st.booleans())
    def resolve(self, numbers: list[int], told: bool) -> None:
        self.world.resolve(numbers, told=told)

    @rule()
    def heartbeat(self) -> None:
        self.world.heartbeat()

    @precondition(lambda self: self.world.alertmanager)
    @rule(
        how=st.sampled_from(["all", "all", "some", "none"]),
        uptime=st.sampled_from([10.0, 3600.0, 3600.0]),
        maintenance=st.booleans(),
    )
    def alertmanager(self, how: str, uptime: float, maintenance: bool) -> None:
        self.world.answers(how, uptime, maintenance=maintenance)

    @precondition(lambda self: self.world.alertmanager)
    @rule(anything=st.booleans())
    def alertmanager_takes(self, anything: bool) -> None:
        self.world.takes(anything=anything)

    @precondition(lambda self: self.world.several())
    @rule(numbers=some, meanwhile=st.sampled_from([None, 1.0, 61.0]))
    def forget(self, numbers: list[int], meanwhile: float | None) -> None:
        self.world.forget(numbers)
        if meanwhile is not None:
            self.world.wait(meanwhile)
            self.world.remember()

    @precondition(lambda self: self.world.several())
    @rule(numbers=some, told=st.booleans(), seconds=st.sampled_from([0.0, 61.0, FORGETTING_SECONDS]))
    def resolve_unheard(self, numbers: list[int], told: bool, seconds: float) -> None:
        self.world.resolve_unheard(numbers, told=told)
        if seconds:
            self.world.wait(seconds)
            self.world.forget_stale()

    @precondition(lambda self: self.world.several())
    @rule(number=alerts, fires=st.booleans())
    def dispute_before_it_acts(self, number: int, fires: bool) -> None:
        self.world.clear_the_way()
        self.world.pause(None, None)
        self.world.fire_anew(number)
        if fires:
            self.world.forget([number])
        else:
            self.world.resolve_unheard([number], told=True)
        self.world.resume(None)
        self.world.wait(61.0)

    @precondition(lambda self: self.world.several())
    @rule(number=alerts, fires=st.booleans())
    def dispute_while_it_is_verified(self, number: int, fires: bool) -> None:
        self.world.clear_the_way()
        self.world.fire_anew(number)
        self.world.wait(1.0)
        if fires:
            self.world.forget([number])
        else:
            self.world.resolve_unheard([number], told=number % 2 == 0)
        self.world.wait(130.0)
        self.world.forget_stale()

    @rule(count=st.sampled_from([None, 0.0, 2.0, 3.9, 4.0, 8.0, 8.0]), numbers=st.lists(alerts, max_size=2))
    def population(self, count: float | None, numbers: list[int]) -> None:
        self.world.population(count)
        for number in numbers:
            self.world.fire_anew(number)

    # What people say

    @precondition(lambda self: self.world.asked())
    @rule(index=which, who=people)
    def approve(self, index: int, who: str) -> None:
        runs = self.world.asked()
        self.world.approve(runs[index % len(runs)], who)

    @precondition(lambda self: self.world.asked())
    @rule(index=which, denied=st.booleans())
    def two_race(self, index: int, denied: bool) -> None:
        runs = self.world.asked()
        if denied:
            self.world.deny(runs[index % len(runs)], "bob")
        self.world.approve(runs[index % len(runs)], "ann")
        self.world.deny(runs[index % len(runs)], "bob")

    @rule(number=alerts, denied=st.booleans())
    def ask(self, number: int, denied: bool) -> None:
        self.world.clear_the_way()
        self.world.reload(2)
        self.world.fire_anew(number)
        for run in self.world.asked()[-1:]:
            (self.world.deny if denied else self.world.approve)(run, "bob")

    @precondition(lambda self: self.world.runs())
    @rule(index=which, who=people)
    def cancel(self, index: int, who: str) -> None:
        runs = self.world.runs()
        self.world.cancel(runs[index % len(runs)], who)

    @precondition(lambda self: self.world.over())
    @rule(index=which, who=people)
    def rerun(self, index: int, who: str) -> None:
        runs = self.world.over()
        self.world.rerun(runs[index % len(runs)], who)

    @rule(name=st.sampled_from(["restart", "fail-over"]), meanwhile=st.lists(alerts, max_size=1))
    def release(self, name: str, meanwhile: list[int]) -> None:
        self.world.release(name, meanwhile)

    @rule(meanwhile=st.lists(alerts, max_size=1), seconds=st.sampled_from([2.0, 130.0]))
    def storm(self, meanwhile: list[int], seconds: float) -> None:
        self.world.clear_the_way()
        self.world.fire([0, 2, 3, 4])
        self.world.wait(seconds)
        self.world.release("restart", meanwhile)

    @rule(on=targets, dies=st.booleans())
    def storm_and_change(self, on: str, dies: bool) -> None:
        self.world.clear_the_way()
        self.world.reload(1)
        self.world.fire([0, 2, 3, 4])
        self.world.wait(2.0)
        self.world.release("fail-over", [])
        self.world.change(on)
        if dies:
            self.world.die(0, from_snapshot=False)
        self.world.wait(130.0)

    @rule(on=targets)
    def change(self, on: str) -> None:
        self.world.change(on)

    @precondition(lambda self: self.world.alertmanager)
    @rule(number=alerts, there=st.booleans())
    def mind(self, number: int, there: bool) -> None:
        self.world.mind(number, there=there)

    @precondition(lambda self: self.world.alertmanager)
    @rule(number=alerts)
    def mind_while_it_acts(self, number: int) -> None:
        self.world.clear_the_way()
        self.world.fire_anew(number)
        self.world.mind(number, there=True)
        self.world.wait(61.0)

    @precondition(lambda self: self.world.alertmanager)
    @rule(number=alerts, then=st.sampled_from(["none", "all"]))
    def mind_and_go(self, number: int, then: str) -> None:
        self.world.clear_the_way()
        self.world.answers("all", 3600.0, maintenance=False)
        self.world.mind(number, there=True)
        self.world.wait(21.0)
        self.world.fire_anew(number)
        self.world.answers(then, 3600.0, maintenance=False)
        self.world.mind(number, there=False)
        self.world.wait(61.0)

    @rule(name=rules, seconds=st.sampled_from([None, 30.0, 30.0, 90.0]))
    def pause(self, name: str | None, seconds: float | None) -> None:
        self.world.pause(name, seconds)

    @rule(name=rules)
    def resume(self, name: str | None) -> None:
        self.world.resume(name)

    @rule(there=st.booleans())
    def pause_by_file(self, there: bool) -> None:
        if there:
            self.world.pause_file.write_text("by chance")
        else:
            self.world.pause_file.unlink(missing_ok=True)

    @rule(number=alerts, seconds=st.sampled_from([60.0, 600.0]))
    def ack(self, number: int, seconds: float) -> None:
        self.world.ack(number, seconds)

    @rule(number=alerts)
    def unack(self, number: int) -> None:
        self.world.ack(number, 600.0)
        self.world.unack()

    @rule(number=alerts, told=st.booleans(), seconds=st.sampled_from([61.0, 310.0]))
    def ack_until_resolved(self, number: int, told: bool, seconds: float) -> None:
        self.world.ack(number, 3600.0)
        self.world.resolve([number], told=told)
        self.world.wait(seconds)

    @rule(number=alerts, seconds=st.sampled_from([2.0, 310.0]))
    def ack_is_lost(self, number: int, seconds: float) -> None:
        self.world.ack(number, 3600.0)
        self.world.lose_acks()
        self.world.wait(seconds)

    @rule(book=st.integers(0, BROKEN))
    def reload(self, book: int) -> None:
        self.world.reload(book)

    @rule(name=st.sampled_from(["restart", "tidy"]))
    def reset(self, name: str) -> None:
        self.world.reset(name)
