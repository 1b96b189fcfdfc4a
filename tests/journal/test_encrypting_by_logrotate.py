"""Encryption beside the real logrotate with the shipped configuration, and a writer at full speed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoheal.journal.files import Storage, log_files
from autoheal.journal.search import Ask, Search
from tests.journal.test_rotation_by_logrotate import ENVIRONMENT, writing
from tests.support.logrotate import Logrotate
from tests.support.secrecy import IDENTITIES, PRIVATE, encryption


@pytest.mark.component
@pytest.mark.parametrize("rotations", [6, pytest.param(50, marks=pytest.mark.hammer)])
def test_both_orders_leave_every_record_once(tmp_path: Path, rotations: int) -> None:
    """Whether a file is encrypted before logrotate compresses it, after that, or at the same time: at every moment each
    record is readable exactly once, and in the end all rotated files are encrypted and verify.
    """
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    rotate = Logrotate(data_dir, [("rotate 14", "rotate 1000")])
    work = encryption(data_dir)
    search = Search(data_dir, identities=IDENTITIES)
    ended = threading.Event()
    read: list[bool] = []

    def read_all() -> None:
        while not ended.is_set():
            seqs = [seq for seq, _ in search.oldest_first(Ask())]
            read.append(seqs == list(range(1, len(seqs) + 1)))

    reader = threading.Thread(target=read_all)
    with writing(data_dir, 20) as writer:
        reader.start()
        for number in range(rotations):
            writer.until_written(200)
            looks = [threading.Thread(target=work.look) for _ in range(number % 3 == 1)]
            for look in looks:
                look.start()
            rotate()
            for look in looks:
                look.join()
            if number % 3 == 0:
                # By then the writer has left the file.
                writer.until_written(200)
                work.look()
        writer.until_written(200)
        ended.set()
        reader.join()
    work.look()
    assert read
    assert all(read)
    files = log_files(data_dir)
    assert [file.storage for file in files] == [*[Storage.ENCRYPTED] * rotations, Storage.PLAIN]
    assert {file.packed for file in files} == {True, False}
    found = dict(search.oldest_first(Ask()))
    assert writer.told.items() <= {seq: line[-66:-2].decode() for seq, line in found.items()}.items()
    assert list(found) == list(range(1, writer.state[0] + 1))
    print(f"{rotations} rotations, {len(found):,} records, read through {len(read)} times meanwhile")
    argv = [sys.executable, "-m", "autoheal", "audit", "verify", str(data_dir), "--key"]
    argv.append(str(tmp_path / "keys/checkpoint.pub.pem"))
    environment = ENVIRONMENT | {"AUTOHEAL_AUDIT_IDENTITY": PRIVATE}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
