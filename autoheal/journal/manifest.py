"""What a rotated file holds, in a small file of its own: `manifests/<first seq>-<last seq>.json`.

Manifests outlive the files that they describe and form a chain by `previous`. So a verifier tells a file that
retention pruned from one that somebody took away, and a search skips files that cannot hold what it looks for.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import orjson

from autoheal.disk import Disk, write_whole
from autoheal.errors import JournalDamaged
from autoheal.model import ZERO_HASH, Head, Kind, Record, parse_rfc3339, rfc3339

FOLDER_NAME = "manifests"
VERSION = 1
MAX_ALERTNAMES = 1000
# A manifest with every alertname of the longest kind stays far below.
MAX_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"[0-9]{15}-[0-9]{15}\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOG_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of one rotated file. `size` and `sha256` are those of its uncompressed bytes.

    `previous` is the SHA-256 of the manifest before (64 zeros for the first), `kinds` how many records of each kind
    it holds, `alertnames` which alerts they name, sorted; None when those are more than 1,000.
    """

    log: str
    first_seq: int
    first_ts: float
    last: Head
    size: int
    sha256: str
    previous: str
    kinds: Mapping[str, int]
    alertnames: tuple[str, ...] | None

    @property
    def name(self) -> str:
        """Its file's name in the folder."""
        return f"{self.first_seq:015d}-{self.last.seq:015d}.json"

    @cached_property
    def data(self) -> bytes:
        """Its exact bytes: one JSON object, one line."""
        return orjson.dumps(self.content, option=orjson.OPT_APPEND_NEWLINE)

    @property
    def digest(self) -> str:
        """The SHA-256 of its bytes, by which `log_opened` and the next manifest name it."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        """What it says, as JSON has it."""
        return {
            "version": VERSION,
            "log": self.log,
            "first": {"seq": self.first_seq, "ts": rfc3339(self.first_ts)},
            "last": {"seq": self.last.seq, "ts": rfc3339(self.last.ts), "hash": self.last.hash},
            "bytes": self.size,
            "sha256": self.sha256,
            "previous": self.previous,
            "kinds": dict(self.kinds),
            "alertnames": None if self.alertnames is None else list(self.alertnames),
        }


class Tally:
    """What a manifest will say of a file, kept as the file grows. `first_seq` is 0 while it is empty.

    `alertnames` becomes None beyond 1,000.
    """

    def __init__(self) -> None:
        self.first_seq = 0
        self.size = 0
        self.first_ts = 0.0
        self.last: Head | Record = Head()
        self.sha256 = hashlib.sha256()
        self.kinds: Counter[Kind] = Counter()
        self.alertnames: set[str] | None = set()

    def add(self, record: Record) -> None:
        """Count the file's next record."""
        # As `extend` does for many, in half the time for one: a start counts all that it reads.
        if not self.first_seq:
            self.first_seq, self.first_ts = record.seq, record.ts
        self.last = record
        self.size += len(record.line) + 1
        self.sha256.update(record.line)
        self.sha256.update(b"\n")
        self.kinds[record.kind] += 1
        if self.alertnames is not None and record.alertname is not None:
            self.alertnames.add(record.alertname)
            self._bound()

    def extend(self, records: Sequence[Record], lines: bytes) -> None:
        """Count the file's next records, whose lines with their newlines are `lines`; at least one."""
        if not self.first_seq:
            self.first_seq, self.first_ts = records[0].seq, records[0].ts
        self.last = records[-1].head
        self.size += len(lines)
        self.sha256.update(lines)
        self.kinds.update([record.kind for record in records])
        if self.alertnames is not None:
            self.alertnames.update([record.alertname for record in records if record.alertname is not None])
            self._bound()

    def _bound(self) -> None:
        if self.alertnames is not None and len(self.alertnames) > MAX_ALERTNAMES:
            self.alertnames = None

    @classmethod
    def of(cls, told: Manifest, lines: Iterable[bytes]) -> Self:
        """What a file holds that begins with `lines`, of which `told` is the description.

        Raises JournalDamaged when these are other bytes, or records of a kind that is unknown to this version.
        """
        found = cls()
        for each in lines:
            found.sha256.update(each)
        if found.sha256.hexdigest() != told.sha256:
            raise JournalDamaged(f"the first {told.size} bytes are not those that were described")
        try:
            found.kinds = Counter({Kind(name): count for name, count in told.kinds.items()})
        except ValueError as error:
            raise JournalDamaged(f"a description of other records: {error}") from None
        found.first_seq, found.size, found.first_ts, found.last = told.first_seq, told.size, told.first_ts, told.last
        found.alertnames = None if told.alertnames is None else set(told.alertnames)
        return found

    def copy(self) -> Self:
        """One that goes its own way from here."""
        twin = type(self)()
        twin.first_seq, twin.size, twin.first_ts, twin.last = self.first_seq, self.size, self.first_ts, self.last
        twin.sha256 = self.sha256.copy()
        twin.kinds = self.kinds.copy()
        twin.alertnames = None if self.alertnames is None else set(self.alertnames)
        return twin

    def manifest(self, log: str, previous: str = ZERO_HASH) -> Manifest:
        """The file's manifest as it stands; `previous` is the digest of the manifest before. Not of an empty file."""
        assert self.first_seq, "an empty file has no manifest"
        return Manifest(
            log=log,
            first_seq=self.first_seq,
            first_ts=self.first_ts,
            last=Head(self.last.seq, self.last.hash, self.last.ts),
            size=self.size,
            sha256=self.sha256.hexdigest(),
            previous=previous,
            kinds={kind.value: count for kind, count in sorted(self.kinds.items())},
            alertnames=None if self.alertnames is None else tuple(sorted(self.alertnames)),
        )


def write(manifest: Manifest, folder: Path, disk: Disk | None = None) -> None:
    """Make `manifest` durable in `folder`, which is made when missing; whole or not at all. Raises OSError.

    One of the same name is replaced: after a crash the same file is described once more.
    """
    write_whole(folder / manifest.name, manifest.data, disk=disk)


def paths(folder: Path) -> list[Path]:
    """The manifests in `folder`, oldest first; none when there is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def read(path: Path) -> Manifest:
    """The manifest in a file. Raises JournalDamaged when it is none, byte for byte, or goes by another's name."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
        manifest = parse(orjson.loads(data))
    except (OSError, ValueError, JournalDamaged) as error:
        raise JournalDamaged(f"{path} is no manifest: {error}") from None
    # An edit that means the same is an edit too: its SHA-256 would not be the one that log_opened names.
    if manifest.data != data:
        raise JournalDamaged(f"{path} is no manifest as autoheal writes it")
    if manifest.name != path.name:
        raise JournalDamaged(f"{path} is the manifest {manifest.name}")
    return manifest


def read_all(folder: Path) -> list[Manifest]:
    """Every manifest in `folder`, oldest first. Raises JournalDamaged for the first that is none."""
    return [read(path) for path in paths(folder)]


def parse(content: Any) -> Manifest:
    """The manifest that says `content`. Raises JournalDamaged when that is none."""
    try:
        return _parse(content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise JournalDamaged(f"{type(error).__name__}: {error}") from None


def _parse(found: Any) -> Manifest:
    if found["version"] != VERSION:
        raise ValueError(f"its version is {found['version']!r}; this autoheal knows {VERSION}")
    first, last, names = found["first"], found["last"], found["alertnames"]
    numbers = (first["seq"], last["seq"], found["bytes"], *found["kinds"].values())
    if any(type(number) is not int or number < 1 for number in numbers):
        raise ValueError("a number is not a positive integer")
    if not (_SHA256.fullmatch(last["hash"]) and _SHA256.fullmatch(found["sha256"])):
        raise ValueError("a hash is not 64 hex digits")
    if not (_SHA256.fullmatch(found["previous"]) and _LOG_ID.fullmatch(found["log"])):
        raise ValueError("`previous` or `log` is not hex digits of its length")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ValueError("an alertname is not text")
    return Manifest(
        log=found["log"],
        first_seq=first["seq"],
        first_ts=parse_rfc3339(first["ts"]),
        last=Head(last["seq"], last["hash"], parse_rfc3339(last["ts"])),
        size=found["bytes"],
        sha256=found["sha256"],
        previous=found["previous"],
        kinds=found["kinds"],
        alertnames=None if names is None else tuple(names),
    )
