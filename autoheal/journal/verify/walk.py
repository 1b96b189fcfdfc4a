"""All files of a data directory's log, read from the first line to the last as they lie there.

Nothing is changed and nothing is locked: the service may run meanwhile, and logrotate too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from autoheal.age import Identities
from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal.checkpoint import TrustedKey
from autoheal.journal.files import FILE_NAME, LogFile, Storage, Strays, log_files, open_again
from autoheal.journal.verify.chain import Chain, Finding, Problem, Report
from autoheal.journal.verify.past import Past
from autoheal.journal.verify.reading import BLOCK_BYTES, Reading
from autoheal.journal.verify.service_time import ServiceTime
from autoheal.journal.verify.signatures import Kept, Signatures
from autoheal.model import MAX_RECORD_BYTES, Head, Kind, parse_rfc3339


def verify(
    data_dir: Path,
    keys: Sequence[TrustedKey],
    kept: Iterable[bytes] | None = None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
    identities: Identities | None = None,
) -> Report:
    """Check the log in `data_dir` against itself, its manifests, `keys` and the checkpoints `kept` elsewhere.

    `kept` are lines as the service printed them. `progress` gets bytes read and bytes in all, about once a MiB.
    `identities` open what is encrypted; a file that none of them opens is a problem.
    Raises FileNotFoundError when there is no log at all, and OSError when something cannot be read.
    """
    walk = _Walk(data_dir, keys, kept, progress, identities)
    try:
        walk.run()
    except JournalDamaged as error:
        walk.report.add(Problem(Finding.CHANGED, None, data_dir.name, None, str(error)))
    return walk.report


class _Walk:
    def __init__(
        self,
        data_dir: Path,
        keys: Sequence[TrustedKey],
        kept: Iterable[bytes] | None,
        progress: Callable[[int, int], object],
        identities: Identities | None,
    ) -> None:
        self.report = Report()
        self._dir = data_dir
        self._progress = progress
        self._identities = identities
        self._past = Past(data_dir, self.report.add)
        self._chain = Chain(self.report.add, self._past.explain)
        self._signatures = Signatures(keys, self._chain)
        self._kept = None if kept is None else Kept(kept, self.report)
        self._time = ServiceTime(self._too_long)
        self._named: set[str] = set()
        self._told: tuple[int, object] = (0, None)
        self._torn: Problem | None = None
        self._strays: set[str] = set()
        self._done = self._total = 0

    def run(self) -> None:
        files = self._look()
        if not files and not self._past.chain and not self._strays:
            raise FileNotFoundError(f"there is no audit log in {self._dir}")
        if self._past.chain:
            self._signatures.log = self._past.chain[0].log
        self._left_out(files)
        self._total = sum(self._size(file) for file in files)
        last: Reading | None = None
        seen: set[int] = set()
        while files:
            for file in files:
                seen.add(file.first)
                if last is not None:
                    self._finish(last)
                last = self._begin(file)
                if last is not None:
                    self._read(last)
            # What logrotate and the service made of the last file meanwhile.
            files = [file for file in self._look() if file.first not in seen]
        self._end(last)

    def _look(self) -> list[LogFile]:
        strays: Strays = {}
        files = log_files(self._dir, strays)
        what = "it does not begin as a file of the log does: damaged, or no part of the log (then give it another name)"
        for name in sorted({path.name for path in strays} - self._strays):
            self._strays.add(name)
            self.report.add(Problem(Finding.CHANGED, None, name, None, what))
        # After the files: the manifest that a fresh file names was there before it.
        self._past.refresh()
        return files

    def _left_out(self, files: Sequence[LogFile]) -> None:
        """Rotated files that do not even hold the beginning of a record."""
        names = {file.path.name for file in files}
        for path in sorted(self._dir.glob(f"{FILE_NAME}[-.]*")):
            # What is being compressed stands beside its original.
            if path.name in names | self._strays or path.stem in names:
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_size:
                    what = "it holds no whole record: it was cut"
                    self.report.add(Problem(Finding.CHANGED, None, path.name, None, what))

    def _size(self, file: LogFile) -> int:
        described = self._past.by_first.get(file.first)
        return described.size if described and file.storage is not Storage.PLAIN else file.size

    def _begin(self, file: LogFile) -> Reading | None:
        try:
            file, stream = open_again(self._dir, file, self._identities)
        except FileNotFoundError:
            if self.report.files:
                raise
            # The oldest one: retention took it a moment ago.
            return None
        except JournalEncrypted as error:
            self._pass_over(error)
            return None
        reading = Reading(file, stream)
        reading.problems = self.report.count
        self._enter(file.path, file.first)
        return reading

    def _enter(self, path: Path, first: int) -> None:
        chain = self._chain
        chain.file, chain.line, chain.gap = path.name, 0, None
        if not self.report.files and first > 1:
            self._begin_late(first)
        self.report.files += 1

    def _pass_over(self, error: JournalEncrypted) -> None:
        """Go on behind a file that no key opens, by what it and its manifest say in the clear."""
        self._enter(error.path, error.first)
        self.report.first_seq = self.report.first_seq or error.first
        chain, described = self._chain, self._past.by_first.get(error.first)
        self.report.unread.append((error.first, error.last))
        what = f"seq {error.first} to {error.last} could not be checked: {error.why}"
        chain.report(Finding.ENCRYPTED, error.first, what)
        ts = 0.0 if described is None else described.last.ts
        chain.pass_over(error.first, error.last, error.hash, ts)
        # What service time there was in between is not known.
        self._time = ServiceTime(self._too_long)

    def _begin_late(self, first: int) -> None:
        """The log's beginning is not there: it was pruned, when the manifests reach to the first record."""
        before = self._past.ending_at(first - 1)
        reached = [manifest.last.seq for manifest in self._past.chain if manifest.last.seq < first]
        self._chain.begin_behind(before.last if before else None, first, max(reached, default=0) + 1)
        if before is not None:
            self.report.pruned = first - 1
            self.report.notes += [f"{hole}: lost before what is kept began" for hole in self._past.holes(first - 1)]

    def _read(self, reading: Reading) -> None:
        """Take what the file holds from where it was read to, up to its last whole line."""
        chain = self._chain
        try:
            while (lines := reading.lines()) is not None:
                for line in lines:
                    before = chain.ts
                    data = chain.take(line)
                    if data is not None:
                        self._take(reading, data, before)
                if len(reading.rest) >= MAX_RECORD_BYTES:
                    if not reading.skipping:
                        chain.line += 1
                        chain.strange(f"it is longer than {MAX_RECORD_BYTES} bytes")
                    reading.rest, reading.skipping = b"", True
                self._done += BLOCK_BYTES
                self._progress(min(self._done, self._total), self._total)
        except JournalDamaged as error:
            reading.broken = True
            chain.line += 1
            chain.strange(f"from here on nothing can be read: {error}")
            chain.lose_track()

    def _take(self, reading: Reading, data: dict[str, Any], before: str) -> None:
        seq, ts, kind = data["seq"], data["ts"], data["kind"]
        self.report.records += 1
        self.report.first_seq = self.report.first_seq or seq
        if reading.first is None:
            reading.first = (seq, ts)
            # Seq 1 is named by its hash, which seq 2 repeats; later ones by what log_opened and the manifests say.
            if seq <= 2:
                self._signatures.log = data["hash" if seq == 1 else "prev"][:16]
        reading.kinds[kind] += 1
        if "alertname" in data:
            reading.alertnames.add(data["alertname"])
        if self._kept is not None and seq in self._kept.records:
            self._kept.found[seq] = data["hash"]
        if ts > self._time.limit or kind in ServiceTime.kinds:
            self._time.take(kind, seq, ts, before)
            detail = data.get("detail", {})
            if kind == Kind.CHECKPOINT:
                self._signatures.take(seq, data["prev"], detail)
            elif kind == Kind.LOG_OPENED:
                self._opened(seq, data["prev"], detail)
            elif kind == Kind.LOG_REPAIRED:
                why = f" ({detail['reason']!r})" if "reason" in detail else ""
                self.report.notes.append(f"seq {seq} tells of a repair: {detail.get('problem')}{why}")

    def _opened(self, seq: int, prev: str, detail: dict[str, Any]) -> None:
        chain, log = self._chain, detail.get("log")
        self._signatures.log = self._signatures.log or str(log)
        if log != self._signatures.log:
            chain.report(Finding.TORN_APART, seq, f"it is of log {log}, and this is log {self._signatures.log}")
        head, told = detail.get("head"), self._told
        self._told = (seq, head)
        # Two truncations may be told of in a row, each with the head at which they were noticed.
        if head != {"seq": seq - 1, "hash": prev} and (told != (seq - 1, head) or detail.get("how") != "truncated"):
            chain.report(Finding.TORN_APART, seq, "the head that it names is not the record before it")
        if detail.get("how") == "truncated":
            self._truncated(seq, detail)
            return
        named = detail.get("manifest")
        file, digest = (named.get("file"), named.get("sha256")) if isinstance(named, dict) else (None, None)
        self._named.add(str(digest))
        manifest = self._past.by_digest.get(str(digest))
        if manifest is None:
            chain.report(Finding.MANIFEST, seq, f"the manifest that it names, {file}, is missing or was changed")
        elif (manifest.name, manifest.last.seq, manifest.last.hash) != (file, seq - 1, prev):
            chain.report(Finding.MANIFEST, seq, f"the manifest that it names, {file}, is not of the file before it")

    def _truncated(self, seq: int, detail: dict[str, Any]) -> None:
        """Somebody copied and truncated the file under the writer."""
        told = f"seq {seq} tells that the file was truncated under the writer ({detail.get('expected_bytes')} bytes"
        told += f" were expected, {detail.get('found_bytes')} found)"
        if self._chain.gap is None:
            self.report.notes.append(f"{told}; no record is missing")
            return
        gap, self._chain.gap = self._chain.gap, None
        gap.finding = Finding.LOST
        gap.what += f"; {told}: copytruncate loses what is written between the copy and the cut"
        if self._torn is not None:
            # Where the copy ended; what the line held is among the lost.
            self.report.problems.remove(self._torn)
            self._torn = None

    def _finish(self, reading: Reading) -> None:
        """What was written to the file since it was read, and whether it is what its manifest says."""
        chain = self._chain
        self._read(reading)
        reading.stream.close()
        self._torn = None
        if reading.rest or reading.skipping:
            what = "the file's last line has no newline: a crash tore it, or the file was cut"
            self._torn = Problem(Finding.TORN, chain.due, chain.file, chain.line + 1, what)
            self.report.add(self._torn)
        if reading.problems == self.report.count:
            self._check_header(reading)
        described = self._past.by_first.get(reading.file.first)
        if described is None or reading.problems != self.report.count:
            return
        last = Head(chain.seq, chain.hash or "", parse_rfc3339(chain.ts))
        if (actual := reading.manifest(self._signatures.log, last, described.previous)) is not None:
            self._past.compare(actual, described, chain.file)

    def _check_header(self, reading: Reading) -> None:
        """What stands before an encrypted file in the clear is what finds it: it has to be true."""
        told, chain = reading.file.header, self._chain
        if told is None or reading.first is None:
            return
        if (told.first, told.last, told.hash) != (reading.first[0], chain.seq, chain.hash):
            chain.line = 0
            what = f"its first line says seq {told.first} to {told.last}, and that is not what is encrypted in it"
            chain.report(Finding.CHANGED, reading.first[0], what)

    def _end(self, last: Reading | None) -> None:
        report, chain = self.report, self._chain
        running = _owned(self._dir)
        if last is not None:
            if running and last.rest:
                report.notes.append("the last line is not whole yet: the service is writing it")
                last.rest = b""
            self._finish(last)
        report.log = self._signatures.log
        report.last_seq, report.last_hash, report.last_ts = chain.seq, chain.hash or "", chain.ts
        report.checkpoints, report.signed = self._signatures.count, self._signatures.signed
        # What names a manifest may be the line that was found changed.
        named = self._named if not report.count else set(self._past.by_digest)
        self._past.end(report.first_seq, chain.seq, named, running=running)
        if self._kept is not None:
            self._kept.compare(self._signatures, self._past)

    def _too_long(self, seq: int, what: str) -> None:
        self._chain.report(Finding.UNSIGNED, seq, what)


def _owned(data_dir: Path) -> bool:
    """Whether a process holds the directory's lock. Asked without trying it: a service might start just now."""
    try:
        lock = (data_dir / "lock").stat()
        held = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    return f" {os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino} " in held
