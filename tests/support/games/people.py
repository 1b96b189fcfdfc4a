"""What people say to the gateway."""

from __future__ import annotations

from autoheal.engine import Ack, Word, batch_digest
from autoheal.model import Kind
from autoheal.state import Run, RunState
from tests.support.games.ground import MOMENT
from tests.support.games.pair import Pair


class People(Pair):
    """Each word is given at once, and what its answer promises is looked at when that comes."""

    def runs(self) -> list[Run]:
        return [run for run in self.engine.state.runs.values() if not run.ended]

    def asked(self) -> list[Run]:
        return [run for run in self.runs() if run.state is RunState.AWAITING_APPROVAL]

    def over(self) -> list[Run]:
        """Runs that may be asked for again."""
        return [
            run
            for run in self.engine.state.runs.values()
            if (open_ := self.engine.state.episodes.get(run.fingerprint)) is not None
            and run.episode == open_.id
            and run.rule in open_.ran
        ]

    def approve(self, run: Run, who: str) -> None:
        self._do(self._approve(run.id, Word(self._by(who), plan_digest=run.plan_digest)))

    async def _approve(self, run_id: str, word: Word) -> None:
        await self.engine.control.approve(run_id, word)
        self._promised(f"approval of {run_id}", kept=self.watchman.runs[run_id].granted)

    def deny(self, run: Run, who: str) -> None:
        self._do(self._deny(run.id, who))

    async def _deny(self, run_id: str, who: str) -> None:
        await self.engine.control.deny(run_id, Word(self._by(who)))
        self._promised(f"denial of {run_id}", kept=self.watchman.runs[run_id].end is Kind.APPROVAL_DENIED)

    def cancel(self, run: Run, who: str) -> None:
        self._do(self._cancel(run.id, who))

    async def _cancel(self, run_id: str, who: str) -> None:
        await self.engine.control.cancel(run_id, Word(self._by(who)))
        seen = self.watchman.runs[run_id]
        self._promised(f"cancelling of {run_id}", kept=seen.unwanted or seen.end is not None)

    def rerun(self, run: Run, who: str) -> None:
        self._do(self._rerun(run.id, who))

    async def _rerun(self, run_id: str, who: str) -> None:
        await self.engine.control.rerun(run_id, Word(self._by(who)))

    def release(self, rule: str, meanwhile: list[int]) -> None:
        """Somebody lets go what a storm held before others failed `meanwhile`."""
        looked_at = next((each for each in self.engine.rules.rules if each.name == rule), None)
        if looked_at is not None:
            digest = batch_digest(looked_at, self.engine.state.batch(rule))
            if meanwhile:
                self.fire(meanwhile)
            self._do(self._release(rule, digest))

    async def _release(self, rule: str, digest: str) -> None:
        count = await self.engine.releases.release(rule, digest, "by chance", self._by("bob"))
        let_go = sum(of == rule for of, _ in self.watchman.released)
        self._promised(f"release of {count} by {rule}", kept=let_go >= count)

    def pause(self, rule: str | None, seconds: float | None) -> None:
        self._do(self._pause(rule, seconds))

    async def _pause(self, rule: str | None, seconds: float | None) -> None:
        await self.engine.pause(rule, "by chance", seconds, self._by("ann"))
        self._promised("pause", kept=(rule, "api") in self.watchman.pauses)

    def resume(self, rule: str | None) -> None:
        self._do(self._resume(rule))

    async def _resume(self, rule: str | None) -> None:
        await self.engine.resume(rule, "by chance", self._by("bob"))
        until = self.watchman.pauses.get((rule, "api"), 0.0)
        self._promised("resume", kept=until <= self.clock.now())

    def clear_the_way(self) -> None:
        """Nobody holds anything back, and the log takes what is to be told."""
        self.disk_works()
        self.journal.free_bytes = 2**40
        self.pause_file.unlink(missing_ok=True)
        for rule in (None, "restart", "fail-over", "tidy"):
            self.resume(rule)

    def ack(self, number: int, seconds: float) -> None:
        self._do(self._ack(f"{number:016x}", seconds))

    async def _ack(self, fingerprint: str, seconds: float) -> None:
        made = await self.engine.acknowledge(Ack(fingerprint, (), seconds, "by chance"), "ann", self._request())
        self._promised("ack", kept=made.silence_id in self.watchman.acks)

    def change(self, target: str) -> None:
        """Somebody changes it, by hand."""
        self.action.change(target)
        self.clock.advance(MOMENT)

    def unack(self) -> None:
        """Somebody ends all acknowledgements in Alertmanager."""
        if self.alertmanager is not None:
            self.alertmanager.end_silences()

    def lose_acks(self) -> None:
        """Alertmanager forgets them."""
        if self.alertmanager is not None:
            self.alertmanager.lose_silences()

    def reload(self, book: int) -> None:
        self.book = book
        self._do(self.engine.reload(self._by("ann")))

    def reset(self, rule: str) -> None:
        self._do(self._reset(rule))

    async def _reset(self, rule: str) -> None:
        await self.engine.reset(rule, self._by("ann"))
