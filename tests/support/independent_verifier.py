"""A second verifier, written from docs/audit.md alone: it shares no code with autoheal. Raises when a log is bad.

It knows lines and their chain, signed checkpoints, and those kept elsewhere; of manifests and service time it knows
nothing, and takes whatever the log begins with for what retention has left.

python independent_verifier.py DATA_DIR PUBLIC_KEYS [KEPT_CHECKPOINTS]
"""

import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key


def sha(data):
    return hashlib.sha256(data).hexdigest()


def sealed(line):
    assert line == line[:-75] + b',"hash":"' + sha(line[:-75]).encode() + b'"}', "not what was sealed"
    return json.loads(line)


def signed(record, log, keys):
    told = record["detail"]
    key, since, until = keys[told["key"]]
    assert (told["seq"], told["hash"]) == (record["seq"] - 1, record["prev"]), "it vouches for another record"
    assert since < told["seq"] <= until, "not the key of its time"
    text = f"autoheal-checkpoint/v1\n{log}\n{told['seq']}\n{told['hash']}\n"
    key.verify(base64.urlsafe_b64decode(told["signature"] + "=="), text.encode())


def trusted(pem):
    keys, since = {}, 0
    block = re.compile(r"(?:last seq: (\d+)\n)?(-----BEGIN.*?-----END PUBLIC KEY-----)", re.DOTALL)
    for until, key in [(until, load_pem_public_key(text.encode())) for until, text in block.findall(pem.read_text())]:
        keys[sha(key.public_bytes_raw())[:16]] = (key, since, int(until or 10**18))
        since = max(since, int(until or 0))
    return keys


def contents(folder):
    for path in folder.glob("audit.jsonl*"):
        data = path.read_bytes()
        if data := gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data:
            yield int(re.match(rb'\{"seq":(\d+),', data)[1]), data


def verify(folder, pem, kept=None):
    keys, hashes, log, seq, prev = trusted(pem), {}, None, 0, "0" * 64
    for _, data in sorted(contents(folder)):
        *lines, rest = data.split(b"\n")
        assert rest == b"", "a torn last line"
        for record in map(sealed, lines):
            if log is None:
                log = record["hash"][:16] if record["seq"] == 1 else record["detail"]["log"]
                seq, prev = record["seq"] - 1, record["prev"] if record["seq"] > 1 else prev
            assert (record["seq"], record["prev"]) == (seq + 1, prev), f"seq {record['seq']} behind seq {seq}"
            if record["kind"] == "checkpoint":
                signed(record, log, keys)
            seq, prev = record["seq"], record["hash"]
            hashes[seq] = prev
    assert hashes, "no log"
    for record in map(sealed, kept.read_bytes().splitlines() if kept else ()):
        signed(record, log, keys)
        assert record["seq"] < min(hashes) or hashes[record["seq"]] == record["hash"], "not in the log"


if __name__ == "__main__":
    verify(*map(Path, sys.argv[1:]))
