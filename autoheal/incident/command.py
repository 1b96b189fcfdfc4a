"""What `autoheal incident DIR` does, part after part."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import structlog

from autoheal import __version__
from autoheal.age import Identities
from autoheal.clock import SystemClock
from autoheal.config import Settings, load, load_one
from autoheal.errors import AutohealError, ConfigError
from autoheal.incident import host, log, process
from autoheal.incident.answers import ASKED, Answer, answers, keys, of_keys
from autoheal.incident.bundle import Bundle
from autoheal.incident.report import report
from autoheal.incident.settings import secrets, shown
from autoheal.journal.checkpoint import FOLDER_NAME, PUBLIC_NAME
from autoheal.model import rfc3339

UNIT = "autoheal"
"""The unit whose messages are asked for where the system has a journal."""
MAX_TOKEN_BYTES = 64 * 1024
_CRITICAL = 50


def run(arguments: argparse.Namespace) -> int:
    """Gather, say where it is, and return the exit code."""
    # What fails is told in the report.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_CRITICAL))
    try:
        bundle = Bundle(arguments.dir)
        gathering = _Gathering(bundle, arguments.url, arguments.token_file, arguments.records)
        gathering.all()
        packed = bundle.pack()
    except (AutohealError, OSError) as error:
        print(f"autoheal: {error}", file=sys.stderr)
        return 2
    for part in bundle.parts:
        print(f"{'MISSING' if part.failed else 'ok':8}{part.name:22}{part.told}")
    print(f"\n{bundle.folder / 'report.md'} says what to look at; all of it is packed in {packed}")
    return 0


class _Gathering:
    """One bundle on its way. No part may keep another from being gathered."""

    def __init__(self, bundle: Bundle, url: str | None, token_file: Path | None, records: int) -> None:
        self._bundle = bundle
        self._records = records
        self._token_file = token_file
        self._environ: Mapping[str, str] = os.environ
        self._data_dir = _data_dir(self._environ)
        self._pid = process.pid_of(self._data_dir)
        self._whose = "of this shell"
        self._bundle.hide(secrets(os.environ, Path(), token_file))
        if self._pid is not None:
            # Those of the service itself, as far as they may be read; people seldom have the same in a shell.
            with contextlib.suppress(OSError):
                self._environ = process.environ_of(self._pid)
                self._whose = f"of the running service, pid {self._pid}"
                self._bundle.hide(secrets(self._environ, Path(f"/proc/{self._pid}/cwd"), None))
        self._settings: Settings | None = None
        try:
            self._settings = load(self._environ)
        except ConfigError as error:
            self._bundle.fail("settings in force", "; ".join(map(str, error.faults)))
        else:
            self._token_file = token_file or self._settings.selftest_token_file
        self._url = url or f"http://{self._settings.nearest if self._settings else '127.0.0.1:9009'}"
        self._answers: dict[str, Answer] = {}

    def all(self) -> None:
        """Gather every part; first what is gone when the service is restarted."""
        self._part("threads", self._threads)
        self._part("process", self._process)
        self._service()
        self._part("host", lambda: self._file("host.txt", host.facts(self._data_dir), "load, memory, disks, limits"))
        self._part("versions", lambda: self._file("versions.txt", host.versions(), f"autoheal {__version__}"))
        self._part("settings", self._shown)
        self._part("log", self._verify)
        self._part("records", self._last_records)
        self._part("own log", self._own_log)
        self._part("keys", self._keys)
        text = report(
            self._bundle.parts,
            self._answers,
            made_at=rfc3339(SystemClock().now()),
            url=self._url,
            version=__version__,
        )
        self._bundle.write("report.md", text.encode())

    def _part(self, name: str, gather: Callable[[], None]) -> None:
        try:
            gather()
        except (AutohealError, OSError, ValueError) as error:
            self._bundle.fail(name, str(error))
        except Exception as error:  # noqa: BLE001 a fault of ours must not cost people the other parts
            self._bundle.fail(name, f"fault in autoheal itself: {type(error).__name__}: {error}")

    def _file(self, file: str, text: str, told: str) -> None:
        self._bundle.add(file.partition(".")[0], told, file, text.encode("utf-8", "backslashreplace"))

    def _threads(self) -> None:
        found, whole = process.threads(self._expect_process(), self._data_dir)
        if not found:
            raise AutohealError("it did not take the signal: it is stopped, or the kernel holds it; see process.txt")
        told = "threads and tasks" if whole else "threads alone: the event loop is stuck, see its main thread"
        self._bundle.add("threads", told, "threads.txt", found)

    def _process(self) -> None:
        pid = self._expect_process()
        self._file("process.txt", process.facts(pid), f"pid {pid}: status, limits, open files")

    def _expect_process(self) -> int:
        if self._pid is None:
            what = f"no process that can be seen from here owns {self._data_dir}: it is dead, or in another container"
            raise AutohealError(what)
        return self._pid

    def _service(self) -> None:
        token = None
        if self._token_file is not None:
            try:
                with self._token_file.open("rb") as opened:
                    token = opened.read(MAX_TOKEN_BYTES).decode("ascii").strip() or None
            except (OSError, UnicodeDecodeError) as error:
                self._bundle.fail("token", f"{self._token_file}: {error}")
        self._answers = asyncio.run(answers(self._url, token))
        for path, answer in self._answers.items():
            if not answer.status:
                self._bundle.fail(f"GET {path}", answer.why)
            elif answer.status in (401, 403):
                self._bundle.fail(f"GET {path}", f"answered {answer.status}: --token-file names a file with a token")
            else:
                told = f"{answer.status}, after {answer.ms:.0f} ms"
                self._bundle.add(f"GET {path}", told, ASKED[path], answer.body)

    def _shown(self) -> None:
        told = {"whose": self._whose, "settings": shown(self._environ)}
        self._file("settings.json", orjson.dumps(told, option=orjson.OPT_INDENT_2).decode(), self._whose)

    def _verify(self) -> None:
        directory = self._environ.get("AUTOHEAL_KEY_DIR", "").strip()
        key_file = (Path(directory) if directory else self._data_dir / FOLDER_NAME) / PUBLIC_NAME
        told, text = log.checked(self._data_dir, key_file, self._identities())
        self._file("verify.txt", text, told)

    def _identities(self) -> Identities | None:
        try:
            found: Identities | None = load_one(self._environ, "audit_identity")
        except ConfigError:
            return None
        return found

    def _last_records(self) -> None:
        lines = log.last_records(self._data_dir, self._records, self._identities())
        errors = log.errors(lines)
        self._bundle.add("records", f"the last {len(lines)}", "records.jsonl", b"".join(line + b"\n" for line in lines))
        told = f"{len(errors)} of them tell of faults"
        self._bundle.add("errors", told, "errors.jsonl", b"".join(line + b"\n" for line in errors))

    def _own_log(self) -> None:
        found = None if self._pid is None else process.own_log(self._pid)
        found = found or host.journald(UNIT)
        if found is None:
            what = f"it goes neither to a file nor to the journal of the unit {UNIT}: docker logs, kubectl logs"
            raise AutohealError(what)
        self._bundle.add("own log", "its end", "own-log.txt", found)

    def _keys(self) -> None:
        lines = [of_keys(self._answers["/metrics"].body)]
        if self._settings is None or self._settings.oidc is None:
            told = "OIDC is off"
        else:
            try:
                lines.append(asyncio.run(keys(self._settings.oidc)))
                told = "fetched, and as the service has them"
            except AutohealError as error:
                lines.append(f"cannot be fetched from here: {error}")
                told = lines[-1]
        self._file("keys.txt", "\n".join(lines) + "\n", told)


def _data_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("AUTOHEAL_DATA_DIR", "").strip() or "./data")
