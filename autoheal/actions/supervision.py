"""The gateway's side of a command: start it under its guardian, watch it from the running loop, end it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoheal.actions import guardian
from autoheal.actions.excerpt import Excerpt

READ_BYTES = 64 * 1024
MARGIN_SECONDS = 5.0
"""How long a command is waited for after its SIGKILL: nothing ends a process that the kernel holds."""

_GUARDIAN = str(Path(guardian.__file__).resolve())
_FAULTS = {
    "cwd": "the working directory cannot be entered",
    "exec": "the program cannot be executed",
    "watch": "the process could not be watched, so it was ended",
}
_DRAIN_READS = 16  # 1 MiB, the most that a pipe holds by default: a daemon that goes on writing must not keep us here


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: at most one of `exit_code`, `signal` and `fault` (it never ran, or its end is unknown).

    `stopped` tells that it had to be ended; `still_running` that even this has not helped yet.
    """

    exit_code: int | None = None
    signal: int | None = None
    fault: str | None = None
    stopped: bool = False
    still_running: bool = False


def lock_path(lock_dir: Path, run: str, step: int) -> Path:
    """The file that is locked as long as a step's command, or a process that it must not leave behind, is there."""
    return lock_dir / f"{run}-{step}.lock"


def orphan_gone(lock_dir: Path, run: str, step: int) -> bool:
    """Whether nothing is left of the command of that step, though the gateway that started it may have died.

    Its lock file is removed then. Raises OSError when the lock file cannot be opened.
    """
    path = lock_path(lock_dir, run, step)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


async def supervise(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 at its end the command is ended, not this coroutine
    grace: float,
    lock: Path,
    output: Excerpt,
) -> Ending:
    """Run `argv` to its end, or end it after `timeout` seconds: SIGTERM, and SIGKILL `grace` seconds later.

    stdout and stderr go to `output`. `lock` is locked meanwhile and removed afterwards. When this is cancelled the
    command is ended first; when the process dies the guardian ends it. ValueError when an argument, a variable or
    `cwd` holds a NUL or is not Unicode.
    """
    spec = _spec(argv, cwd, env)
    try:
        guarded = _Guarded(spec, grace, lock, output)
    except _NotSupervisedError as error:
        return Ending(fault=str(error))
    except OSError as error:
        return Ending(fault=f"no process could be started: {error}")
    try:
        await asyncio.wait([guarded.ended], timeout=timeout)
    finally:
        if not guarded.ended.done():
            guarded.stop()
            await asyncio.wait([guarded.ended], timeout=grace + MARGIN_SECONDS)
    if not guarded.ended.done():
        return Ending(stopped=True, still_running=True)
    return guarded.ended.result()


def _spec(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> bytes:
    variables = [f"{name}={value}" for name, value in env.items()]
    parts = [cwd, str(len(argv)), *argv, *variables]
    if any("\0" in part for part in parts):
        raise ValueError("a NUL byte cannot be passed to a program")
    try:
        return "\0".join(parts).encode()
    except UnicodeEncodeError:
        raise ValueError("text that is not valid Unicode cannot be passed to a program") from None


class _NotSupervisedError(Exception):
    """Why no command runs, for people."""


class _Guarded:
    """A guardian and its command. `ended` is set when both are gone and every descriptor is closed.

    Raises OSError when it cannot be started, _NotSupervisedError when `lock` is held or it cannot be watched; nothing
    of it is left then.
    """

    def __init__(self, spec: bytes, grace: float, lock: Path, output: Excerpt) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ending] = self._loop.create_future()
        self._lock = lock
        self._output = output
        with contextlib.ExitStack() as ours_if_started, contextlib.ExitStack() as theirs:
            locked = _locked(lock, theirs)
            ours_if_started.callback(lock.unlink, missing_ok=True)
            given = _file(spec, theirs)
            life, self._life = _pipe(theirs, ours_if_started, ours=1)
            self._report, report = _pipe(theirs, ours_if_started, ours=0)
            self._out, out = _pipe(theirs, ours_if_started, ours=0)
            for descriptor in (self._out, self._report):
                os.set_blocking(descriptor, False)
            self._process = subprocess.Popen(  # noqa: S603 no shell; the arguments are in `spec`
                [sys.executable, "-I", "-S", _GUARDIAN, *map(str, (given, life, report, locked, grace))],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                pass_fds=(given, life, report, locked),
                start_new_session=True,
            )
            ours_if_started.callback(self._abandon)
            try:
                self._pidfd = os.pidfd_open(self._process.pid)
                ours_if_started.callback(os.close, self._pidfd)
                self._loop.add_reader(self._out, self._read)
                ours_if_started.callback(self._loop.remove_reader, self._out)
                self._loop.add_reader(self._pidfd, self._gone)
            except OSError as error:
                what = f"the process could not be watched, so it was killed at once: {error.strerror}"
                raise _NotSupervisedError(what) from None
            ours_if_started.pop_all()

    def stop(self) -> None:
        """Tell the guardian to end the command; the kernel says the same when this process dies."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _read(self) -> bool:
        """Take what is there; False when there is nothing more now."""
        try:
            data = os.read(self._out, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._out)
            return False
        self._output.feed(data)
        return True

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._out)
        # The end of the file may never come: a daemon that the command started can hold the pipe.
        for _ in range(_DRAIN_READS):
            if not self._read():
                break
        state = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        if state is not None and state.si_code != os.CLD_EXITED:
            self._kill_session()  # somebody killed the guardian
        code = self._process.wait()
        report = ""
        with contextlib.suppress(BlockingIOError):
            report = os.read(self._report, READ_BYTES).decode(errors="replace")
        self.stop()
        for descriptor in (self._pidfd, self._out, self._report):
            os.close(descriptor)
        # Its directory may have been taken away meanwhile. That the command has ended is known all the same, and the
        # file, which nobody locks any more, goes when it is looked at next.
        with contextlib.suppress(OSError):
            self._lock.unlink()
        if not self.ended.done():
            self.ended.set_result(_ending(report, code))

    def _abandon(self) -> None:
        """Kill what nobody would watch. It was started a moment ago, so that waiting for its end is short."""
        self._process.kill()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._kill_session()
        self._process.wait()

    def _kill_session(self) -> None:
        """Kill what the dead guardian's command left: its session's id cannot be another's before it is reaped."""
        # Without a descriptor to read /proc with, the command itself still dies with its guardian.
        with contextlib.suppress(OSError):
            guardian.signal_groups(guardian.working_groups(self._process.pid), signal.SIGKILL)


def _locked(path: Path, stack: contextlib.ExitStack) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Told apart here: no process to be had (EAGAIN of fork) is the same exception.
        raise _NotSupervisedError("a command of this very step is still running") from None
    return descriptor


def _file(content: bytes, stack: contextlib.ExitStack) -> int:
    # In memory and not on a command line: there all users of the machine could read the secrets.
    descriptor = os.memfd_create("command")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pipe(theirs: contextlib.ExitStack, undo: contextlib.ExitStack, *, ours: int) -> tuple[int, int]:
    ends = os.pipe()
    undo.callback(os.close, ends[ours])
    theirs.callback(os.close, ends[1 - ours])
    return ends


def _ending(report: str, code: int) -> Ending:
    told = {line.partition(" ")[0]: line.partition(" ")[2] for line in report.splitlines()}
    stopped = "stop" in told
    for stage, what in _FAULTS.items():
        if stage in told:
            return Ending(fault=f"{what}: {os.strerror(int(told[stage]))}", stopped=stopped)
    if "exit" in told:
        return Ending(exit_code=int(told["exit"]), stopped=stopped)
    if "signal" in told:
        return Ending(signal=int(told["signal"]), stopped=stopped)
    if stopped and code == 0:
        return Ending(stopped=True)  # so early that it was not even started
    return Ending(fault=f"its guardian was lost ({code}), so that its end is not known", stopped=stopped)
