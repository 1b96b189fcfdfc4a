"""The audit log: sealing records into a hash chain, making them durable in groups, reading them back."""

from autoheal.journal.file import FileJournal
from autoheal.journal.record import parse, seal

__all__ = ["FileJournal", "parse", "seal"]
