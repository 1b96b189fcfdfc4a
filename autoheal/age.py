"""Encryption to public keys in the age format (https://age-encryption.org/v1). The only file that knows pyrage.

The library is optional: without it, keys are refused with a word on how to install it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SECRET = "AGE-SECRET-KEY-1"  # noqa: S105 the prefix that every such key has


class WrongKey(Exception):
    """None of the private keys is one of those that the text was encrypted to."""


class NotWhole(Exception):
    """The text is not what was encrypted."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Public keys, each of which has a private one that can read what is encrypted."""

    keys: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Recipients:
        """Keys (`age1…`) with commas between them. Raises ValueError, which repeats none of them."""
        items = [item for item in (part.strip() for part in text.split(",")) if item]
        pyrage = _library()
        for place, item in enumerate(items, 1):
            which = f"key {place} of {len(items)}"
            if item.upper().startswith(_SECRET):
                raise ValueError(
                    f"{which} is a private key: it belongs where the log is read, name the public one here"
                )
            try:
                pyrage.x25519.Recipient.from_str(item)
            except pyrage.RecipientError as error:
                raise ValueError(f"{which} is no age public key (age1…): {error}") from None
        return cls(tuple(items))

    def encrypt(self, data: bytes) -> bytes:
        """`data` as an age file. Holds the GIL, about 2 ms for a MiB."""
        pyrage = _library()
        encrypted: bytes = pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(key) for key in self.keys])
        return encrypted


@dataclass(frozen=True, slots=True)
class Identities:
    """Private keys."""

    keys: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Identities:
        """Keys (`AGE-SECRET-KEY-1…`), one a line, as `age-keygen` writes them: lines that begin with # are comments.

        Raises ValueError, which repeats none of them.
        """
        pyrage, keys = _library(), []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                pyrage.x25519.Identity.from_str(line.strip())
            except pyrage.IdentityError:
                # What the library says might repeat a part of it.
                raise ValueError(f"line {number} is no age private key ({_SECRET}…)") from None
            keys.append(line.strip())
        if not keys:
            raise ValueError(f"there is no age private key ({_SECRET}…) in it")
        return cls(tuple(keys))

    def decrypt(self, data: bytes) -> bytes:
        """What the age file `data` holds. Raises WrongKey or NotWhole. Holds the GIL, about 2.5 ms for a MiB."""
        pyrage = _library()
        try:
            decrypted: bytes = pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(key) for key in self.keys])
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise WrongKey from None
            raise NotWhole(str(error)) from None
        return decrypted


def _library() -> Any:
    try:
        import pyrage  # noqa: PLC0415 optional
    except ImportError:
        raise ValueError("this needs the library pyrage: pip install 'autoheal[encryption]'") from None
    return pyrage
