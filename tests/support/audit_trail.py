"""Audit trails as the service leaves them: files, manifests, checkpoints and keys, made line by line."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from autoheal.journal import manifest as manifests
from autoheal.journal.checkpoint import Signer
from autoheal.journal.manifest import Manifest, Tally
from autoheal.journal.record import seal
from autoheal.model import ZERO_HASH, Draft, Head, Kind, Mode, Record

BEGUN = 1_800_000_000.0


class Trail:
    """A data directory and a clock of its own; every record takes a second."""

    def __init__(self, folder: Path, *, signed: bool = True, begun: float = BEGUN) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.now = begun
        self.head = Head()
        self.log = ""
        self.signer = Signer.load(folder / "keys") if signed else None
        self.checkpoints: list[Record] = []
        self.previous = ZERO_HASH
        self._tally = Tally()
        self._rotations = 0
        self.add(Draft(kind=Kind.LOG_CREATED), Draft(kind=Kind.SERVICE_STARTED, detail={"version": "1", "pid": 1}))

    @property
    def current(self) -> Path:
        return self.folder / "audit.jsonl"

    def add(self, *drafts: Draft) -> list[Record]:
        """Records on the current file, which is made when missing."""
        made = []
        with self.current.open("ab") as file:
            for draft in drafts:
                record = seal(draft, self.head, self.now)
                self.now += 1
                self.head = record.head
                self.log = self.log or record.hash[:16]
                self._tally.add(record)
                file.write(record.line + b"\n")
                made.append(record)
        return made

    def work(self, count: int, **more: Any) -> list[Record]:
        """`count` records of different kinds."""
        return self.add(*(work(number, **more) for number in range(count)))

    def checkpoint(self) -> Record:
        assert self.signer is not None
        (record,) = self.add(self.signer.draft(self.log, self.head))
        self.checkpoints.append(record)
        return record

    def rotate(self, *, compress: bool = False, name: str | None = None) -> Path:
        """What logrotate and then the service do: rename, manifest, a fresh file; the file that was renamed."""
        self._rotations += 1
        rotated = self.folder / (name or f"audit.jsonl-2026112{self._rotations}-{self._rotations}")
        self.current.rename(rotated)
        described = self._tally.manifest(self.log, self.previous)
        manifests.write(described, self.folder / "manifests")
        self.previous = described.digest
        self._tally = Tally()
        self.add(opened(self.log, self.head, described), Draft(kind=Kind.SNAPSHOT, detail=SNAPSHOT))
        if self.signer is not None:
            self.checkpoint()
        return self.compress(rotated) if compress else rotated

    def compress(self, rotated: Path) -> Path:
        packed = rotated.with_name(f"{rotated.name}.gz")
        packed.write_bytes(gzip.compress(rotated.read_bytes()))
        rotated.unlink()
        return packed

    def copytruncate(self, copied: int, *, torn: int = 0) -> Path:
        """What logrotate's copytruncate does, with the last lines written after the copy; `torn` bytes of one more."""
        self._rotations += 1
        lines = self.current.read_bytes().splitlines(keepends=True)
        copy = self.folder / f"audit.jsonl-2026112{self._rotations}-{self._rotations}"
        copy.write_bytes(b"".join(lines[:copied]) + (lines[copied][:torn] if torn else b""))
        size = self.current.stat().st_size
        self.current.write_bytes(b"")
        self._tally = Tally()
        head = {"seq": self.head.seq, "hash": self.head.hash}
        detail = {"log": self.log, "how": "truncated", "head": head, "expected_bytes": size, "found_bytes": 0}
        self.add(Draft(kind=Kind.LOG_OPENED, detail=detail), Draft(kind=Kind.SNAPSHOT, detail=SNAPSHOT))
        self.checkpoint()
        return copy

    def kept(self, path: Path) -> Path:
        """The checkpoints as they were printed."""
        path.write_bytes(b"".join(record.line + b"\n" for record in self.checkpoints))
        return path


SNAPSHOT = {"version": 1, "part": 1, "parts": 1, "data": "eJwDAAAAAAE="}


def opened(log: str, head: Head, described: Manifest) -> Draft:
    """The first record after a rotation."""
    detail = {
        "log": log,
        "how": "renamed",
        "head": {"seq": head.seq, "hash": head.hash},
        "manifest": {"file": described.name, "sha256": described.digest},
    }
    return Draft(kind=Kind.LOG_OPENED, detail=detail)


def work(number: int, **more: Any) -> Draft:
    """One of a few records that differ in their fields."""
    kinds = (Kind.ALERT_FIRING, Kind.DECISION, Kind.ACTION_DRY_RUN)
    return Draft(
        kind=kinds[number % 3],
        alertname=f"Alert{number % 5}",
        target=None if number % 2 else f"web-{number}",
        mode=Mode.DRY_RUN if number % 3 else None,
        labels={"alertname": f"Alert{number % 5}", "q": '",hash":"'} if number % 4 == 0 else None,
        **more,
    )


def rechain(lines: Sequence[bytes], head: Head | None = None) -> list[bytes]:
    """`lines` with seqs and hashes made anew, all of them right: what a forger without the key can make.

    A checkpoint is made to name the record that is now before it; its signature stays what it was.
    """
    seq, prev = (head.seq, head.hash) if head else (0, ZERO_HASH)
    made = []
    for line in lines:
        data = orjson.loads(line)
        seq += 1
        data |= {"seq": seq, "prev": prev}
        del data["hash"]
        if data["kind"] == "checkpoint":
            data["detail"] |= {"seq": seq - 1, "hash": prev}
        body = orjson.dumps(data)[:-1]
        prev = hashlib.sha256(body).hexdigest()
        made.append(b'%b,"hash":"%b"}\n' % (body, prev.encode()))
    return made
