"""A second verifier, written from docs/audit.md alone: it shares no code with autoheal. Raises when a log is bad.

python independent_verifier.py DATA_DIR PUBLIC_KEYS [KEPT_CHECKPOINTS]
"""

import base64
import gzip
import hashlib
import json
import re
import sys
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

OPENING = {"log_repaired", "log_opened", "snapshot", "checkpoint"}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def strict(pairs):
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)


def signed(record, log, keys):
    told = record["detail"]
    (key, since, until) = keys[told["key"]]
    assert (told["seq"], told["hash"]) == (record["seq"] - 1, record["prev"])
    assert since < told["seq"] <= until
    assert re.fullmatch("[A-Za-z0-9_-]{86}", told["signature"])
    raw = base64.urlsafe_b64decode(told["signature"] + "==")
    assert base64.urlsafe_b64encode(raw).decode().rstrip("=") == told["signature"]
    key.verify(raw, f"autoheal-checkpoint/v1\n{log}\n{told['seq']}\n{told['hash']}\n".encode())


def sealed(line):
    record = json.loads(line, object_pairs_hook=strict)
    assert line == line[:-75] + b',"hash":"' + sha(line[:-75]).encode() + b'"}'
    return record


def verify(folder, pem, kept=None):
    keys, manifests, before, files, since = {}, {}, "0" * 64, [], 0
    for until, block in re.findall(
        r"(?:last seq: (\d+)\n)?(-----BEGIN.*?-----END PUBLIC KEY-----)", pem.read_text(), re.DOTALL
    ):
        key = load_pem_public_key(block.encode())
        keys[sha(key.public_bytes_raw())[:16]] = (key, since, int(until or 10**18))
        since = max(since, int(until or 0))
    for path in sorted((folder / "manifests").glob("*.json")):
        data = path.read_bytes()
        manifest = json.loads(data)
        assert data == json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode() + b"\n", path
        assert path.name == f"{manifest['first']['seq']:015}-{manifest['last']['seq']:015}.json", path
        assert manifest["previous"] == before, f"{path}: the manifest before it is another one"
        before = sha(data)
        manifests[before] = manifest
    for path in folder.glob("audit.jsonl*"):
        data = path.read_bytes()
        if data := gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data:
            files.append((int(re.match(rb'\{"seq":(\d+),', data)[1]), data))
    files.sort()
    last = {"seq": 0, "hash": "0" * 64, "ts": ""}
    if files[0][0] > 1:
        (last,) = [each["last"] for each in manifests.values() if each["last"]["seq"] == files[0][0] - 1]
    first, hashes, events, named, log, tally = last["seq"] + 1, {}, [], set(), None, None
    for _, data in files:
        *lines, rest = data.split(b"\n")
        assert rest == b"", "a torn last line"
        start = last
        for line in lines:
            record = sealed(line)
            assert (record["seq"], record["prev"]) == (last["seq"] + 1, last["hash"]), record["seq"]
            assert record["ts"] >= last["ts"], "time goes back"
            log = log or (record["hash"][:16] if record["seq"] == 1 else record["detail"]["log"])
            if record["kind"] == "log_opened":
                told = record["detail"]
                assert (told["log"], told["head"]) == (log, {"seq": last["seq"], "hash": last["hash"]})
                if told["how"] == "renamed":
                    manifest = manifests[told["manifest"]["sha256"]]
                    assert manifest["last"] == {key: last[key] for key in ("seq", "ts", "hash")}
                    found = (manifest["log"], manifest["first"]["seq"], manifest["bytes"], manifest["sha256"])
                    assert tally in (None, found), "the file is not the one that its manifest describes"
                    named.add(told["manifest"]["sha256"])
            elif record["kind"] == "checkpoint":
                signed(record, log, keys)
            hashes[record["seq"]] = record["hash"]
            events.append((record["kind"], datetime.fromisoformat(record["ts"]).timestamp()))
            last = record
        tally = (log, start["seq"] + 1, len(data), sha(data))
    assert not [each for digest, each in manifests.items() if each["last"]["seq"] >= first and digest not in named]
    assert in_time(events), "more than ten minutes without a checkpoint"
    for line in kept.read_bytes().splitlines() if kept else ():
        record = sealed(line)
        assert record["kind"] == "checkpoint", "no checkpoint"
        signed(record, log, keys)
        assert record["seq"] < first or hashes[record["seq"]] == record["hash"], "not in the log"


def in_time(events):
    served, at, alive, number = 0.0, 0.0, False, 0
    while number < len(events):
        kind, now = events[number]
        run = number
        if kind in OPENING - {"checkpoint"}:
            while run < len(events) and events[run][0] in OPENING:
                run += 1
            if run == len(events) or events[run][0] == "service_started":
                if "checkpoint" in [each for each, _ in events[number:run]]:
                    served = 0.0
                number = run
                continue
        if kind != "service_started" and alive:
            served += now - at
        if served > 600:
            return False
        served = 0.0 if kind == "checkpoint" else served
        at, alive, number = now, kind != "service_stopped", number + 1
    return True


if __name__ == "__main__":
    verify(*map(Path, sys.argv[1:]))
