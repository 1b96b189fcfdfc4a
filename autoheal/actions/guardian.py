"""Runs one command and sees to its end, even when the gateway dies: a script, started as `python -I -S guardian.py`.

    guardian.py SPEC LIFE REPORT LOCK GRACE

SPEC, LIFE, REPORT and LOCK are inherited descriptors. SPEC holds the working directory, the number of arguments,
the arguments and the environment (`NAME=value`), joined by NUL. LIFE is the read end of a pipe whose write end only
the gateway has: its end of file, by closing or by death, ends the command. REPORT gets a line for each of:

    stop           the gateway has gone or wants the command ended, and it had not ended yet
    cwd N, exec N  the command could not be started, with errno
    watch N        it could not be watched, with errno, and was ended
    exit N         the command's exit code
    signal N       the signal that ended it

LOCK carries an flock that the gateway took; it is held until this script exits, and the command does not inherit
it. To end a command is SIGTERM to every process group of this script's session, SIGKILL after GRACE seconds, and
waiting until all are gone. A whole session, because `timeout` and job control give children groups of their own;
what calls setsid is a daemon and has left. A command that ended with 0 leaves daemons running; one that failed
leaves nothing.

It imports little: its start is a part of every command's.
"""

# ruff: noqa: PTH123, PTH208, SIM105  pathlib, contextlib and typing would double the time to start

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.01

_OURS_TO_IGNORE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OF_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def main() -> int:
    """Run the command; the exit code mirrors the command's, or is 128 + N after signal N, as in a shell."""
    spec, life, report, lock = (int(descriptor) for descriptor in sys.argv[1:5])
    grace = float(sys.argv[5])
    for descriptor in (spec, life, report, lock):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 positional-only in os
    for number in _OURS_TO_IGNORE:
        # Whoever stops a whole control group must not release the lock before the command has ended.
        signal.signal(number, signal.SIG_IGN)
    events = select.poll()
    events.register(life, 0)
    if events.poll(0):
        _tell(report, "stop")
        return 0  # nothing was started
    with open(spec, "rb") as file:
        command = file.read().split(b"\0")
    own = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        _tell(report, f"exec {error.errno}")
        return 127
    if child == 0:
        _become(command, report, own)
    try:
        os.setpgid(child, child)  # both sides do: neither may be first to need it
    except OSError:
        pass  # the child has, and is past exec
    try:
        watched = os.pidfd_open(child)
    except OSError as error:
        _tell(report, f"watch {error.errno}")
        _end(grace)
        return 127
    events.register(watched, select.POLLIN)
    stopping = all(descriptor == life for descriptor, _ in events.poll())
    if stopping:
        _tell(report, "stop")
        _end(grace)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _tell(report, f"exit {code}" if code >= 0 else f"signal {-code}")
    if code != 0:
        _end(grace)
    return code if code >= 0 else 128 - code


def working_groups(session: int) -> set[int]:
    """Process groups of `session` with a living member, other than the session leader's own.

    Zombies do not count: where PID 1 reaps nobody they would stay for ever.
    """
    groups = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue  # gone
        # proc(5): the name, in parentheses, may hold anything.
        state, _, group, its_session = stat.rpartition(b")")[2].split(maxsplit=4)[:4]
        if int(its_session) == session and state not in (b"Z", b"X"):
            groups.add(int(group))
    return groups - {session}


def signal_groups(groups: set[int], number: int) -> None:
    """Send `number` to each group; one that has gone, or belongs to another user, is passed over."""
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            pass


def _become(command: list[bytes], report: int, guardian: int) -> None:
    """Turn into the command, or tell why not and exit; never returns."""
    directory, count, *rest = command
    arguments, environment = rest[: int(count)], rest[int(count) :]
    stage = "exec"
    try:
        os.setpgid(0, 0)
        for number in (*_OURS_TO_IGNORE, *_OF_PYTHON):
            signal.signal(number, signal.SIG_DFL)
        # kill -9 of the guardian must not leave the command without one.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(127)
        stage = "cwd"
        os.chdir(directory)
        stage = "exec"
        os.execvpe(arguments[0], arguments, dict(item.split(b"=", 1) for item in environment))  # noqa: S606 no shell
    except OSError as error:
        _tell(report, f"{stage} {error.errno}")
    finally:
        os._exit(127)


def _end(grace: float) -> None:
    """End every process of this session but this one, and return when they are gone."""
    session = os.getpid()
    deadline = time.monotonic() + grace
    groups = working_groups(session)
    signal_groups(groups, signal.SIGTERM)
    while groups:
        time.sleep(POLL_SECONDS)
        groups = working_groups(session)
        if time.monotonic() > deadline:
            signal_groups(groups, signal.SIGKILL)


def _tell(report: int, line: str) -> None:
    try:
        os.write(report, f"{line}\n".encode())
    except OSError:
        pass  # the gateway has gone


if __name__ == "__main__":
    sys.exit(main())
