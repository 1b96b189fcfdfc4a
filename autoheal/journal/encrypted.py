"""A rotated file that is encrypted: what its bytes mean, and its lines from anywhere in it.

One plain line tells what is inside. Then come the parts, each one MiB of the log's lines (the last one less): the
length of what follows in eight digits and a newline, and an age file that holds them gzip'd. So a reader who wants the
end decrypts the end alone, nobody needs memory for more than two parts, and a shell with `age` can read all of it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import orjson

from autoheal.age import Identities, NotWhole, Recipients, WrongKey
from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal.sources import Source

VERSION = 1
PART_BYTES = 1024 * 1024
MAX_PART_BYTES = 64 * 1024 * 1024
MAX_OVERHEAD = 1024 * 1024
"""By how much encrypting may lengthen a part: some hundred bytes, and a hundred more for each key."""
HEADER_BYTES = 512
"""A header with its newline is shorter."""

_MAGIC = b'{"format":"autoheal-encrypted-log",'
_LENGTH = re.compile(rb"[0-9]{8}\n")
_LENGTH_BYTES = 9
_LEVEL = 6
_GZIP_WINDOW = 31
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Header:
    """What stands in the clear: the seqs `first` to `last`, the `hash` of the last record, `size` of the plain lines.

    Nothing vouches for it but the records themselves: `verify` holds it against them.
    """

    first: int
    last: int
    hash: str
    size: int
    part_bytes: int = PART_BYTES

    @cached_property
    def line(self) -> bytes:
        """Its exact bytes, newline included."""
        fields = {
            "format": "autoheal-encrypted-log",
            "version": VERSION,
            "first": self.first,
            "last": self.last,
            "hash": self.hash,
            "bytes": self.size,
            "part_bytes": self.part_bytes,
        }
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.size // self.part_bytes)


def header(path: Path, beginning: bytes) -> Header | None:
    """The header that a file's first 512 bytes hold; None for a file of another kind.

    Raises JournalDamaged for one that is not as autoheal writes it, or of a later version.
    """
    if not beginning.startswith(_MAGIC):
        return None
    line = beginning[: beginning.find(b"\n") + 1]
    try:
        data = orjson.loads(line)
        if data["version"] != VERSION:
            raise JournalDamaged(
                f"{path} is encrypted in version {data['version']!r} of the format; this autoheal knows {VERSION}"
            )
        found = Header(data["first"], data["last"], data["hash"], data["bytes"], data["part_bytes"])
        # An edit that means the same is an edit too.
        known = found.line == line and _SHA256.fullmatch(found.hash) is not None
        known = known and 0 < found.first <= found.last and found.size > 0 and 0 < found.part_bytes <= MAX_PART_BYTES
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise JournalDamaged(f"{path}: its first line does not say what is encrypted in it")
    return found


def encrypted(part: bytes, recipients: Recipients) -> bytes:
    """The part as it stands in a file, its length included. Packing gives the GIL free, encrypting does not."""
    data = recipients.encrypt(gzip.compress(part, _LEVEL, mtime=0))
    return b"%08d\n%b" % (len(data), data)


class Decrypted:
    """The lines of one encrypted file, for one reader at a time. `stored` has its bytes, from the header on.

    `size` is that of the lines. Two parts of them are held: lines span parts.
    """

    def __init__(self, path: Path, header: Header, stored: Source, identities: Identities | None) -> None:
        self.size = header.size
        self._path = path
        self._header = header
        self._stored = stored
        self._identities = identities
        # Where the length of each part stands that is known so far, and of the next one.
        self._places = [len(header.line)]
        self._parts: dict[int, bytes] = {}

    def open(self) -> None:
        """Raise JournalEncrypted now when no key opens the file. Damage is told by whoever reads."""
        try:
            self._part(0)
        except JournalDamaged:
            return

    def read(self, view: memoryview, at: int) -> int:
        """Fill `view` with the lines from byte `at` on, as far as there are any; how many bytes those were.

        Raises JournalEncrypted when no key opens the file, and JournalDamaged, naming the part, for one that is not
        what was encrypted.
        """
        done = 0
        while done < len(view) and at + done < self.size:
            number, offset = divmod(at + done, self._header.part_bytes)
            piece = memoryview(self._part(number))[offset : offset + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def _part(self, number: int) -> bytes:
        part = self._parts.pop(number, None)
        if part is None:
            while len(self._parts) > 1:
                del self._parts[next(iter(self._parts))]
            part = self._decrypt(number, self._find(number))
        self._parts[number] = part
        return part

    def _find(self, number: int) -> bytes:
        """The part's age file. Reading forward, nothing is read twice."""
        while True:
            known = min(number, len(self._places) - 1)
            place = self._places[known]
            length = self._bytes(known, place, _LENGTH_BYTES)
            if not _LENGTH.fullmatch(length) or int(length) > self._header.part_bytes + MAX_OVERHEAD:
                raise self._damaged(known, f"no length stands at byte {place}")
            if known + 1 == len(self._places):
                self._places.append(place + _LENGTH_BYTES + int(length))
            if known == number:
                return self._bytes(number, place + _LENGTH_BYTES, int(length))

    def _bytes(self, number: int, at: int, size: int) -> bytes:
        data = bytearray(size)
        if self._stored.read(memoryview(data), at) < size:
            raise self._damaged(number, "the file ends before it does")
        return bytes(data)

    def _decrypt(self, number: int, data: bytes) -> bytes:
        if self._identities is None:
            raise self._closed("give the private key: AUTOHEAL_AUDIT_IDENTITY, or --identity FILE")
        last = number + 1 == self._header.parts
        due = self.size - number * self._header.part_bytes if last else self._header.part_bytes
        unpacking = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = unpacking.decompress(self._identities.decrypt(data), due + 1)
        except WrongKey:
            if number == 0:
                raise self._closed("the private key that was given is none of those that open it") from None
            # All parts have the same keys: where the first one opens, this one was changed.
            self._part(0)
            raise self._damaged(number, "it is not what was encrypted: it names other keys") from None
        except (NotWhole, zlib.error) as error:
            raise self._damaged(number, f"it is not what was encrypted: {error}") from None
        if len(part) != due or not unpacking.eof or unpacking.unused_data:
            raise self._damaged(number, f"it does not hold {due} bytes of lines")
        if last and self._stored.read(memoryview(bytearray(1)), self._places[number + 1]):
            raise self._damaged(number, "something stands behind it, and it is the last one")
        return part

    def _closed(self, why: str) -> JournalEncrypted:
        return JournalEncrypted(self._path, self._header.first, self._header.last, self._header.hash, why)

    def _damaged(self, number: int, what: str) -> JournalDamaged:
        return JournalDamaged(f"{self._path}, encrypted part {number + 1} of {self._header.parts}: {what}")
