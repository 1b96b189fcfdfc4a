"""Checkpoints as a verifier sees them: those in the log, and those that were kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from autoheal.errors import JournalDamaged
from autoheal.journal.checkpoint import TrustedKey, verify_signature
from autoheal.journal.record import parse
from autoheal.journal.verify.chain import Chain, Finding, Problem, Report
from autoheal.journal.verify.past import Past
from autoheal.model import Kind, Record

_TYPES = {"seq": int, "hash": str, "key": str, "signature": str}


class Signatures:
    """Checks the log's checkpoints one by one. `log` is the log's id, empty as long as it is not known.

    `count` are those that are good, `signed` is the last seq that one of them vouches for.
    """

    def __init__(self, keys: Sequence[TrustedKey], chain: Chain) -> None:
        self._keys = keys
        self._chain = chain
        self._key = 0
        self.log = ""
        self.count = 0
        self.signed = 0

    def take(self, seq: int, prev: str, detail: dict[str, Any]) -> None:
        """The checkpoint `seq` of the log."""
        if fault := self.fault(seq, prev, detail):
            self._chain.report(Finding.SIGNATURE, seq, fault)
            return
        key = next(place for place, trusted in enumerate(self._keys) if trusted.id == detail["key"])
        if key < self._key:
            self._chain.report(Finding.SIGNATURE, seq, "it is signed by an older key than the checkpoint before it")
        self._key = key
        self.count += 1
        self.signed = seq - 1

    def fault(self, seq: int, prev: str, detail: dict[str, Any]) -> str:
        """Why the checkpoint `seq` is not one that a trusted key signed in its time; empty when it is."""
        if {name: type(value) for name, value in detail.items()} != _TYPES:
            return "its detail is not seq, hash, key and signature"
        if (detail["seq"], detail["hash"]) != (seq - 1, prev):
            return "it does not vouch for the record before it"
        for trusted in self._keys:
            if trusted.id == detail["key"]:
                if trusted.last_seq is not None and trusted.last_seq < seq - 1:
                    return f"the key {trusted.id} vouches for nothing beyond seq {trusted.last_seq}"
                if verify_signature(trusted.key, self.log, seq - 1, prev, detail["signature"]):
                    return ""
                return f"its signature is not one of the key {trusted.id} over this place in log {self.log}"
            if trusted.last_seq is not None and seq - 1 <= trusted.last_seq:
                return f"it is not signed by the key of its time, {trusted.id}, but by {detail['key'][:16]!r}"
        return f"it is signed by the key {detail['key'][:16]!r}, which is not among the trusted ones"


class Kept:
    """Checkpoints that were kept elsewhere, as lines of the log.

    `records` has them by seq, with the number of their line; `found` is for the hashes that the log has there.
    """

    def __init__(self, lines: Iterable[bytes], report: Report) -> None:
        self._report = report
        self.records: dict[int, tuple[int, Record]] = {}
        self.found: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            if line.strip():
                self._keep(number, line.strip())

    def _keep(self, number: int, line: bytes) -> None:
        try:
            record = parse(line)
        except JournalDamaged as error:
            self._bad(Finding.SIGNATURE, None, number, f"it is no record: {error}")
            return
        if record.kind is not Kind.CHECKPOINT:
            self._bad(Finding.SIGNATURE, record.seq, number, f"it is no checkpoint but {record.kind}")
        elif record.seq in self.records and self.records[record.seq][1].hash != record.hash:
            other = self.records[record.seq][0]
            self._bad(Finding.REWRITTEN, record.seq, number, f"line {other} is another checkpoint of this seq")
        else:
            self.records[record.seq] = (number, record)

    def compare(self, signatures: Signatures, past: Past) -> None:
        """Hold each against the log, after all of it was read."""
        first, last, unread = self._report.first_seq, self._report.last_seq, self._report.unread
        self._report.kept_last = max(self.records, default=0)
        for seq, (number, record) in sorted(self.records.items()):
            if fault := signatures.fault(seq, record.prev, dict(record.detail)):
                self._bad(Finding.SIGNATURE, seq, number, fault)
            elif seq > last:
                what = f"it vouches for seq {seq - 1}; the log ends with seq {last}: what was behind was cut off"
                self._bad(Finding.CUT, last + 1, number, what)
            elif seq < first:
                described = past.ending_at(seq)
                if described is not None and described.last.hash != record.hash:
                    self._bad(Finding.REWRITTEN, seq, number, f"{described.name} says another hash for this seq")
                else:
                    self._report.kept_pruned += 1
            elif any(low <= seq <= high for low, high in unread):
                continue  # the problem of that file says that it was not checked
            elif self.found.get(seq) != record.hash:
                self._bad(Finding.REWRITTEN, seq, number, "the log has something else at this seq")
            else:
                self._report.kept += 1

    def _bad(self, finding: Finding, seq: int | None, number: int, what: str) -> None:
        self._report.add(Problem(finding, seq, "the kept checkpoints", number, what))
