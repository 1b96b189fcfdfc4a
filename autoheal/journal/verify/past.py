"""The manifests as a verifier sees them: a chain of their own, to be held against the log's files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from autoheal.errors import JournalDamaged
from autoheal.journal import manifest as manifests
from autoheal.journal.manifest import FOLDER_NAME, Manifest
from autoheal.journal.verify.chain import Finding, Problem, missing
from autoheal.model import ZERO_HASH


class Past:
    """All manifests of a data directory, oldest first in `chain`; what is wrong among them is reported."""

    def __init__(self, data_dir: Path, report: Callable[[Problem], None]) -> None:
        self._folder = data_dir / FOLDER_NAME
        self._report = report
        self._seen: set[str] = set()
        self.chain: list[Manifest] = []
        self.by_digest: dict[str, Manifest] = {}
        self.by_first: dict[int, Manifest] = {}

    def refresh(self) -> None:
        """Read the manifests that are new: a running service writes one before each fresh file."""
        for path in manifests.paths(self._folder):
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            try:
                self._add(manifests.read(path))
            except JournalDamaged as error:
                seq = int(path.name.split("-")[0])
                self._report(Problem(Finding.MANIFEST, seq, f"{FOLDER_NAME}/{path.name}", None, str(error)))
        self.by_digest = {manifest.digest: manifest for manifest in self.chain}
        self.by_first = {manifest.first_seq: manifest for manifest in self.chain}

    def _add(self, manifest: Manifest) -> None:
        last = self.chain[-1] if self.chain else None
        if last and (last.first_seq, last.previous) == (manifest.first_seq, manifest.previous):
            # Written, and the fresh file could not be opened: the file grew, and was described once more.
            self.chain[-1] = manifest
            return
        if manifest.previous != (last.digest if last else ZERO_HASH):
            before = f"{last.name}, but another one" if last else "no other, but one that is missing"
            self._bad(manifest, f"it follows {before}: a manifest was removed, changed or added")
        if last and manifest.log != last.log:
            self._bad(manifest, f"it is of log {manifest.log}, the one before of {last.log}")
        if last and manifest.first_seq <= last.last.seq:
            self._bad(manifest, f"it begins with seq {manifest.first_seq}; {last.name} reaches to {last.last.seq}")
        self.chain.append(manifest)

    def _bad(self, manifest: Manifest, what: str) -> None:
        self._report(Problem(Finding.MANIFEST, manifest.first_seq, f"{FOLDER_NAME}/{manifest.name}", None, what))

    def ending_at(self, seq: int) -> Manifest | None:
        """The manifest of the file whose last record was `seq`."""
        return next((manifest for manifest in self.chain if manifest.last.seq == seq), None)

    def explain(self, first: int, last: int) -> str:
        """What is known of the seqs from `first` to `last`, which are in no file: the rest of a sentence."""
        inside = [manifest for manifest in self.chain if first <= manifest.first_seq and manifest.last.seq <= last]
        if sum(manifest.last.seq - manifest.first_seq + 1 for manifest in inside) < last - first + 1:
            return "and no manifest tells of a file that was pruned"
        return (
            f"although {inside[0].name} describes the file that held them: retention takes the oldest files first,"
            " so somebody took this one"
        )

    def holes(self, last: int) -> list[str]:
        """Seqs up to `last` that no manifest covers, in words: they were lost to copytruncate long ago."""
        found, due = [], 1
        for manifest in self.chain:
            if due < manifest.first_seq <= last:
                found.append(missing(due, manifest.first_seq - 1))
            due = manifest.last.seq + 1
        return found

    def compare(self, actual: Manifest, described: Manifest, file: str) -> None:
        """Hold the manifest of a file against what was found in it."""
        if described.data == actual.data:
            return
        if actual.last.seq < described.last.seq:
            what = f"the file ends here; {described.name} says with seq {described.last.seq}: it was cut, or replaced"
            self._report(Problem(Finding.CUT, actual.last.seq + 1, file, None, what))
            return
        names = ("log", "size", "sha256", "last", "first_ts", "kinds", "alertnames")
        differs = [name for name in names if getattr(described, name) != getattr(actual, name)]
        self._bad(described, f"{', '.join(differs)} are not those of {file}, which it describes")

    def end(self, first: int, last: int, named: Collection[str], *, running: bool) -> None:
        """Hold the manifests against the seqs that are there, and those that a `log_opened` names."""
        for manifest in self.chain:
            if first <= manifest.last.seq < last and manifest.digest not in named:
                self._bad(manifest, "no log_opened names it")
        if not self.chain or self.chain[-1].last.seq < last:
            return
        newest = self.chain[-1]
        file = f"{FOLDER_NAME}/{newest.name}"
        if newest.last.seq > last:
            what = f"it tells of records up to seq {newest.last.seq}, but the log ends with seq {last}"
            self._report(Problem(Finding.CUT, last + 1, file, None, what))
        elif not running:
            # A running service is about to begin the fresh file, or restores it from its descriptor.
            what = "the file that follows this one is gone (or autoheal died at the moment of beginning it)"
            self._report(Problem(Finding.CUT, last + 1, file, None, what))
