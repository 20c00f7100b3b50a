"""A small process that outlives the testbed for a moment, and cleans up after it.

`python guardian.py FOLDER UID GID` stops the servers it was told of and removes the folder as soon
as its standard input closes or its parent is gone: at an orderly end, and just as well after kill
-9. Each line on standard input is `+PID` for a server that runs, or `-PID` for one that has ended.

It is started by its path and uses nothing but the standard library, so that it is quick. Process
groups are of no use here, because every process of PostgreSQL makes a group of its own; so the
family is found by parents.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 3.0
"""How long a server may take for an immediate shutdown before it is killed."""

_LOOK_FOR_PARENT_S = 1.0


def family(pid: int) -> list[int]:
    """Return a process and all its descendants that run, the process first."""
    children: dict[int, list[int]] = {}
    living = set()
    for child, parent, state in _processes():
        if state != "Z":
            living.add(child)
            children.setdefault(parent, []).append(child)
    found = [pid] if pid in living else []
    for member in found:
        found += children.get(member, [])
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def family_stopped(pid: int) -> list[int]:
    """Stop a process and all its descendants with SIGSTOP, and return them."""
    # The parent first: what is stopped starts no further children behind our back.
    send([pid], signal.SIGSTOP)
    stopped = family(pid)
    send(stopped, signal.SIGSTOP)
    return stopped


def runs(pid: int) -> bool:
    """Whether the process is there and not only waits to be noticed by its parent."""
    return any(child == pid and state != "Z" for child, _, state in _processes())


def _processes() -> list[tuple[int, int, str]]:
    """Return every process's id, its parent's id and the letter of its state."""
    proc = Path("/proc/self/stat")
    if not proc.exists():
        command = ["/bin/ps", "-A", "-o", "pid=,ppid=,state="]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows = [line.split() for line in lines.splitlines()]
        return [(int(pid), int(parent), state[0]) for pid, parent, state in rows]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # It has ended meanwhile.
                # The name in parentheses may contain anything; what follows the last one does not.
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found.append((int(entry.name), int(after_name[1]), after_name[0]))
    return found


def _main() -> None:
    folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    servers = _watch()
    for pid in servers:
        _end(pid)
    for leftover in folder.glob("*/postmaster.pid"):
        _release_shared_memory(leftover)
    shutil.rmtree(folder, ignore_errors=True)


def _watch() -> set[int]:
    """Return the servers that run when the testbed is gone."""
    servers: set[int] = set()
    parent = os.getppid()
    unread = b""
    # A forked child of the testbed may hold the pipe open, so the parent is looked for as well.
    while os.getppid() == parent:
        if not select.select([0], [], [], _LOOK_FOR_PARENT_S)[0]:
            continue
        received = os.read(0, 4096)
        if not received:
            break
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            (servers.add if line.startswith(b"+") else servers.discard)(int(line[1:]))
    return servers


def _end(pid: int) -> None:
    """End a server, gently enough that it gives its shared memory back."""
    members = family(pid)
    send(members, signal.SIGCONT)
    send(members[:1], signal.SIGQUIT)
    deadline = time.monotonic() + PATIENCE_S
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    send(family_stopped(pid), signal.SIGKILL)


def _release_shared_memory(lock_file: Path) -> None:
    """Remove the few bytes that a server killed with -9 leaves behind, of which few fit."""
    lines = lock_file.read_text().splitlines()
    ipcrm = shutil.which("ipcrm")
    if ipcrm and len(lines) >= 7 and len(words := lines[6].split()) == 2:
        subprocess.run([ipcrm, "-m", words[1]], check=False, capture_output=True)


if __name__ == "__main__":
    _main()
