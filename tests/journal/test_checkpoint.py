"""Checkpoints: keys made, kept and refused; signatures that hold for one place in one log."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from autoheal.errors import ConfigError
from autoheal.journal.checkpoint import (
    Signer,
    TrustedKey,
    key_id,
    load_public_keys,
    public_file,
    signed_text,
    verify_signature,
)
from autoheal.journal.record import seal
from autoheal.model import Head, Kind
from tests.support.faults import FaultyDisk

LOG_ID = "0123456789abcdef"
HEAD = Head(17, "ab" * 32, 1_800_000_000.0)


def signature(signer: Signer, head: Head = HEAD) -> str:
    text: str = signer.draft(LOG_ID, head).detail["signature"]
    return text


def test_the_first_load_makes_a_key_pair(tmp_path: Path) -> None:
    """The private key for the owner alone, the public one for all; the second load finds the same."""
    signer = Signer.load(tmp_path / "new" / "keys")
    private, public = tmp_path / "new/keys/checkpoint.pem", tmp_path / "new/keys/checkpoint.pub.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in private.parent.iterdir()) == [private.name, public.name]
    again = Signer.load(private.parent)
    assert again.key_id == signer.key_id == load_public_keys(public)[0].id
    assert len(load_public_keys(public)) == 1


def test_openssl_agrees(tmp_path: Path) -> None:
    """A checkpoint can be checked with `openssl pkeyutl`, as the documentation says."""
    signer = Signer.load(tmp_path)
    (tmp_path / "text").write_bytes(signed_text(LOG_ID, HEAD.seq, HEAD.hash))
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature(signer) + "=="))
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "checkpoint.pub.pem", "-rawin", "-in", "text"]
    done = subprocess.run([*argv, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully")


def test_a_draft_is_a_record_of_the_format(tmp_path: Path) -> None:
    """`detail` has seq, hash, key and signature, in this order, and can be sealed."""
    signer = Signer.load(tmp_path)
    record = seal(signer.draft(LOG_ID, HEAD), HEAD, 0)
    assert record.kind is Kind.CHECKPOINT
    assert list(record.detail) == ["seq", "hash", "key", "signature"]
    assert (record.detail["seq"], record.detail["hash"], record.detail["key"]) == (17, HEAD.hash, signer.key_id)


def test_a_signature_holds_for_one_place_in_one_log(tmp_path: Path) -> None:
    """Another log, seq, hash or key, or any changed character of the signature: it does not verify."""
    signer, other = Signer.load(tmp_path / "a"), Signer.load(tmp_path / "b")
    good = signature(signer)
    assert verify_signature(signer.public_key, LOG_ID, HEAD.seq, HEAD.hash, good)
    assert not verify_signature(other.public_key, LOG_ID, HEAD.seq, HEAD.hash, good)
    assert not verify_signature(signer.public_key, "f" * 16, HEAD.seq, HEAD.hash, good)
    assert not verify_signature(signer.public_key, LOG_ID, HEAD.seq + 1, HEAD.hash, good)
    assert not verify_signature(signer.public_key, LOG_ID, HEAD.seq, "cd" * 32, good)
    for place in range(len(good)):
        for changed in (good[:place] + good[place + 1 :], good[:place] + "\u00e4" + good[place + 1 :]):
            assert not verify_signature(signer.public_key, LOG_ID, HEAD.seq, HEAD.hash, changed)
        for character in "AQgw-_":
            changed = good[:place] + character + good[place + 1 :]
            assert verify_signature(signer.public_key, LOG_ID, HEAD.seq, HEAD.hash, changed) is (changed == good)


@pytest.mark.parametrize("spelling", ["{}==", "{}=", " {}", "{}\n", ""])
def test_a_signature_has_one_spelling(tmp_path: Path, spelling: str) -> None:
    """Padding and white space are refused: whoever changed a record must not find two that verify."""
    signer = Signer.load(tmp_path)
    given = spelling.format(signature(signer))
    assert not verify_signature(signer.public_key, LOG_ID, HEAD.seq, HEAD.hash, given)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says which file, its mode and what to do."""
    Signer.load(tmp_path)
    (tmp_path / "checkpoint.pem").chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\): chmod 600 {tmp_path}/checkpoint.pem"):
        Signer.load(tmp_path)


def test_what_is_no_key_is_refused_without_repeating_it(tmp_path: Path) -> None:
    """Junk, a public key, another algorithm: each is named, and none of the file's text stands in the message."""
    path = tmp_path / "checkpoint.pem"
    ec = generate_ec(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, says in ((b"hunter2", "no private key in PEM"), (b"", "no private key"), (ec, "not an Ed25519 one")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=says) as caught:
            Signer.load(tmp_path)
        assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_used_is_a_fault_for_people(tmp_path: Path) -> None:
    """A file in the folder's place: no traceback, the path and the reason."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(ConfigError, match="keys"):
        Signer.load(tmp_path / "keys")


def test_a_full_disk_leaves_no_half_key(tmp_path: Path) -> None:
    """A key that could not be written is not there; the next start makes one."""
    disk = FaultyDisk()
    disk.free = 20
    with pytest.raises(ConfigError, match="No space left"):
        Signer.load(tmp_path, disk)
    assert not (tmp_path / "checkpoint.pem").exists()
    disk.free = None
    assert Signer.load(tmp_path, disk).key_id


def test_a_lost_private_key_begins_a_new_one(tmp_path: Path) -> None:
    """The old public key stays in front of the new one: what it signed can still be verified."""
    old = Signer.load(tmp_path)
    (tmp_path / "checkpoint.pem").unlink()
    new = Signer.load(tmp_path)
    assert [key.id for key in load_public_keys(tmp_path / "checkpoint.pub.pem")] == [old.key_id, new.key_id]
    assert Signer.load(tmp_path).key_id == new.key_id


def test_a_lost_public_key_is_written_anew(tmp_path: Path) -> None:
    """It follows from the private one."""
    signer = Signer.load(tmp_path)
    (tmp_path / "checkpoint.pub.pem").unlink()
    assert Signer.load(tmp_path).key_id == signer.key_id
    assert [key.id for key in load_public_keys(tmp_path / "checkpoint.pub.pem")] == [signer.key_id]


def test_a_key_folder_of_its_own_takes_the_restored_keys_in(tmp_path: Path) -> None:
    """What `restore` put into the data directory stays verifiable with AUTOHEAL_KEY_DIR elsewhere; once that has
    public keys of its own, these alone count.
    """
    data, elsewhere = tmp_path / "data/keys", tmp_path / "elsewhere"
    old = TrustedKey(Signer.load(data).public_key, 17)
    (data / "checkpoint.pub.pem").write_bytes(public_file((old,)))
    for _ in range(2):
        new = Signer.load(elsewhere, restored=data)
        found = load_public_keys(elsewhere / "checkpoint.pub.pem")
        assert [(key.id, key.last_seq) for key in found] == [(old.id, 17), (new.key_id, None)]


def test_a_key_whose_time_is_over_signs_no_more(tmp_path: Path) -> None:
    """An older private key put back, or one that the public file ended, is refused: nothing it signed would verify."""
    Signer.load(tmp_path)
    private, public = tmp_path / "checkpoint.pem", tmp_path / "checkpoint.pub.pem"
    kept = private.read_bytes()
    ended = public_file((TrustedKey(load_public_keys(public)[0].key, 20),))
    private.unlink()
    Signer.load(tmp_path)
    private.write_bytes(kept)
    private.chmod(0o600)
    with pytest.raises(ConfigError, match="time is over"):
        Signer.load(tmp_path)
    public.write_bytes(ended)
    with pytest.raises(ConfigError, match="time is over"):
        Signer.load(tmp_path)


def test_public_keys_keep_their_order_and_end(tmp_path: Path) -> None:
    """Any text may stand between the blocks (RFC 7468); `last seq: N` belongs to the block behind it."""
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(3)]
    trusted = (TrustedKey(keys[0], 100), TrustedKey(keys[1]), TrustedKey(keys[2], 300))
    path = tmp_path / "keys.pem"
    path.write_bytes(b"the first\n\n" + public_file(trusted) + b"last seq: 7\n")
    found = load_public_keys(path)
    assert [(key.id, key.last_seq) for key in found] == [
        (key_id(keys[0]), 100),
        (key_id(keys[1]), None),
        (key_id(keys[2]), 300),
    ]


def test_a_public_key_file_without_a_good_key_is_refused(tmp_path: Path) -> None:
    """Missing, not text, empty, broken, another algorithm."""
    path = tmp_path / "keys.pem"
    ec = generate_ec(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    broken = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_public_keys(path)
    for content, says in ((b"\xff", "cannot be"), (b"", "no public"), (broken, "cannot be"), (ec, "not Ed25519")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=says):
            load_public_keys(path)
