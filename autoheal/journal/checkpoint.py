"""Checkpoints: the head of the log, signed with Ed25519 (RFC 8032), so that who rewrites the file is found out.

The private key never leaves the key directory. `checkpoint.pub.pem` beside it holds every public key that signed
this log, oldest first, as SPKI PEM blocks (RFC 7468). A line `last seq: N` before a block ends that key's time: it
vouches for nothing beyond N, and later keys vouch for nothing up to there. Without it, whoever holds a later key
could sign an old stretch of the log anew (as in journald, CVE-2023-31439).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from autoheal.disk import Disk, write_whole
from autoheal.errors import ConfigError, Fault
from autoheal.model import Draft, Head, Kind

FOLDER_NAME = "keys"
PRIVATE_NAME = "checkpoint.pem"
PUBLIC_NAME = "checkpoint.pub.pem"
_SETTING = "AUTOHEAL_KEY_DIR"
_MAX_FILE_BYTES = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n?", re.DOTALL)
_LAST_SEQ = re.compile(r"^last seq: ([0-9]{1,15})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and the last seq that it vouches for (None: it is still in use)."""

    key: Ed25519PublicKey
    last_seq: int | None = None

    @property
    def id(self) -> str:
        """The `key` of its checkpoints."""
        return key_id(self.key)


class Signer:
    """Signs checkpoints with the private key of a key directory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key()
        self.key_id = key_id(self.public_key)

    @classmethod
    def load(cls, key_dir: Path, disk: Disk | None = None, *, restored: Path | None = None) -> Signer:
        """The signer of `key_dir`; makes the key pair, durably, when there is none.

        Where `key_dir` has no public keys yet, those of the folder `restored` that signed this log come first.
        Raises ConfigError when the private key is none, may be read by group or others, is older than the last in
        `checkpoint.pub.pem`, or cannot be read or made.
        """
        disk = disk or Disk()
        path = key_dir / PRIVATE_NAME
        try:
            if not path.exists():
                _create(path, disk)
            signer = cls(_read_private(path))
            _publish(key_dir / PUBLIC_NAME, signer, disk, restored)
        except OSError as error:
            raise _fault(f"the key of the checkpoints, {path}, cannot be used: {error}") from None
        return signer

    def draft(self, log_id: str, head: Head) -> Draft:
        """A `checkpoint` that vouches for `head`; it must be the very next record."""
        signature = self._key.sign(signed_text(log_id, head.seq, head.hash))
        detail = {"seq": head.seq, "hash": head.hash, "key": self.key_id, "signature": _text(signature)}
        return Draft(kind=Kind.CHECKPOINT, detail=detail)


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def signed_text(log_id: str, seq: int, digest: str) -> bytes:
    """What a checkpoint's signature covers."""
    return f"autoheal-checkpoint/v1\n{log_id}\n{seq}\n{digest}\n".encode()


def verify_signature(key: Ed25519PublicKey, log_id: str, seq: int, digest: str, signature: str) -> bool:
    """Whether `signature` (base64url without padding, and written in the one way there is) is `key`'s."""
    try:
        raw = base64.urlsafe_b64decode(f"{signature}==")
        # The last characters have bits to spare: another spelling of the same bytes was not written by us.
        if _text(raw) != signature:
            return False
        key.verify(raw, signed_text(log_id, seq, digest))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def load_public_keys(path: Path) -> tuple[TrustedKey, ...]:
    """The keys in a PEM file, oldest first. Raises ConfigError when there is none, or one is not Ed25519."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(f"the public key {path} cannot be read: {error}") from None
    keys: list[TrustedKey] = []
    end = 0
    for block in _BLOCK.finditer(text):
        told = _LAST_SEQ.findall(text, end, block.start())
        last_seq, end = (int(told[-1]) if told else None), block.end()
        try:
            key = load_pem_public_key(block[0].encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _fault(f"{path} holds a public key that cannot be read: {error}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise _fault(f"{path} holds a key that is not Ed25519")
        keys.append(TrustedKey(key, last_seq))
    if not keys:
        raise _fault(f"{path} holds no public key (-----BEGIN PUBLIC KEY-----)")
    return tuple(keys)


def public_file(keys: tuple[TrustedKey, ...]) -> bytes:
    """The text of a `checkpoint.pub.pem` that holds `keys`."""
    parts = []
    for trusted in keys:
        if trusted.last_seq is not None:
            parts.append(b"last seq: %d\n" % trusted.last_seq)
        parts.append(trusted.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return b"".join(parts)


def _create(path: Path, disk: Disk) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_whole(path, pem, 0o600, disk)


def _read_private(path: Path) -> Ed25519PrivateKey:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise _fault(f"{path} may be read by others than its owner (mode {mode:04o}): chmod 600 {path}")
        try:
            key = load_pem_private_key(file.read(_MAX_FILE_BYTES), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Whatever the library says may quote the file.
            raise _fault(f"{path} is no private key in PEM (PKCS #8, without a password)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _fault(f"{path} is a private key, but not an Ed25519 one")
    return key


def _publish(path: Path, signer: Signer, disk: Disk, restored: Path | None) -> None:
    """Have the signer's public key be the last in the file beside it."""
    known = path if restored is None or path.exists() else restored / PUBLIC_NAME
    keys = load_public_keys(known) if known.exists() else ()
    ids = [trusted.id for trusted in keys]
    if ids and ids[-1] == signer.key_id and keys[-1].last_seq is None:
        return
    if signer.key_id in ids:
        raise _fault(
            f"{path.with_name(PRIVATE_NAME)} is a key whose time is over according to {path}: put the current key"
            " back, or move the private key away to begin a new one"
        )
    write_whole(path, public_file((*keys, TrustedKey(signer.public_key))), 0o644, disk)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _fault(what: str) -> ConfigError:
    return ConfigError([Fault(_SETTING, what)])
