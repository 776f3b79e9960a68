"""What is done to the fleet, and measured while it is done. Each phase returns its figures."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from bench import _fill
from bench._figures import AT_LARGE, AT_MEDIUM, Figure
from bench._ground import Ground, until

SETTLE_SECONDS = 10.0


def joined(ground: Ground, patience: float) -> list[Figure]:
    """All hosts join by token, connect, and are in sync."""
    began = time.monotonic()
    ground.hosts.join(ground.server)
    took = time.monotonic() - began
    synced = until(lambda: ground.hosts.total("in_sync") == ground.hosts.count, patience)
    return [
        Figure(name="all hosts joined", value=took, unit="s", note=f"{ground.hosts.count / took:.0f} a second"),
        Figure(
            name="all hosts joined, connected and in sync",
            value=None if synced is None else took + synced,
            unit="s",
        ),
    ]


def filled(ground: Ground, services: int, containers: int, patience: float, *, copies: bool) -> list[Figure]:
    """The part that will be at rest. Raises AssertionError when it does not come to run in time."""
    fill = _fill.by_copies if copies else _fill.by_api
    took = fill(ground, services, containers // services, patience)
    how = "copies of rows, then a full resync" if copies else "through the API"
    assert took is not None, f"the fill did not run within {patience} s:\n{ground.server.log()[-2000:]}"
    return [Figure(name="filled, all Running", value=took, unit="s", note=f"{how}; {containers / took:.0f} a second")]


def at_rest(ground: Ground, seconds: float, patience: float) -> list[Figure]:
    """Nothing happens: what that costs."""
    resting = until(lambda: _fill.rests(ground), patience, ground.pause) is not None
    time.sleep(SETTLE_SECONDS)
    parts = {"Tutela": ground.tutela(), "Postgres": ground.database(), "the model hosts": ground.hosts.pids}
    before = {name: _cpu(pids) for name, pids in parts.items()}
    ground.record.count_anew()
    began = time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - began
    used = {name: (_cpu(pids) - before[name]) / span * 100 for name, pids in parts.items()}
    size = ground.record.value("SELECT pg_database_size(current_database())") / 1e6
    wide = f"over {span:.0f} s" + ("" if resting else "; it did not come to rest before")
    return [
        Figure(
            name="at rest: CPU of Tutela, of one core",
            value=used["Tutela"],
            unit="%",
            bar=2,
            bar_for=AT_LARGE,
            note=wide,
        ),
        Figure(name="at rest: CPU of Postgres", value=used["Postgres"], unit="%", note=wide),
        Figure(name="at rest: CPU of the model hosts", value=used["the model hosts"], unit="%", note="not Tutela's"),
        Figure(
            name="at rest: statements",
            value=ground.record.statements() / span,
            unit="/s",
            bar=50,
            bar_for=AT_LARGE,
            note="all",
        ),
        Figure(
            name="at rest: statements without those around others",
            value=ground.record.statements(around=False) / span,
            unit="/s",
        ),
        Figure(name="database", value=size, unit="MB"),
        Figure(name="RSS of Tutela at rest", value=ground.memory(), unit="MB", bar=1536, bar_for=AT_MEDIUM),
    ]


def storm(ground: Ground, patience: float) -> list[Figure]:
    """All connections are cut at once."""
    until(lambda: _fill.rests(ground), patience, ground.pause)
    ground.hosts.all("clear")
    at = min(each["at"] for each in ground.hosts.all("cut"))
    return _back(ground, at, "after a cut of all connections", patience)


def restart(ground: Ground, patience: float) -> list[Figure]:
    """kill -9 of the control plane, and started again at once."""
    until(lambda: _fill.rests(ground), patience, ground.pause)
    ground.hosts.all("clear")
    at = time.monotonic()
    ground.server.kill()
    ground.server.start()
    up = time.monotonic() - at
    figures = _back(ground, at, "after kill -9 and restart", patience, bar=10)
    return [Figure(name="API answers after kill -9 and restart", value=up, unit="s"), *figures]


def _back(ground: Ground, at: float, when: str, patience: float, bar: float | None = None) -> list[Figure]:
    """Until every agent has said all it knows and no service is due."""
    count, connected = ground.hosts.count, None
    while connected is None and time.monotonic() - at < patience:
        if ground.hosts.total("connected", at) == count:
            connected = time.monotonic() - at
        else:
            time.sleep(ground.pause)
    rested = until(lambda: _fill.rests(ground, at), patience, ground.pause)
    whole = None if rested is None else time.monotonic() - at
    synced, due = ground.hosts.total("in_sync", at), ground.record.value(_fill.UNDER_WAY)
    told = ground.hosts.all("told")
    sessions = ground.hosts.total("registrations")
    reported = sum(each["reported"] for each in told)
    note = f"{sessions} sessions for {count} hosts"
    rate = reported / (max(each["last_report"] for each in told) - at)
    return [
        Figure(name=f"all connected {when}", value=connected, unit="s", note=note),
        Figure(
            name=f"all in sync, no service due, {when}",
            value=whole,
            unit="s",
            bar=bar,
            bar_for=AT_MEDIUM if bar else "",
            note="" if rested is not None else f"{synced} in sync, {due} services due",
        ),
        Figure(name=f"containers reported {when}", value=rate, unit="/s", note=f"{reported} in all"),
    ]


def whole_run(ground: Ground) -> list[Figure]:
    """What shows only in the end. No host was ever silent for long, so that each alarm was a false one."""
    high = [
        int(line.split()[1]) / 1000
        for pid in ground.tutela()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    log = ground.server.log()
    return [
        Figure(name="RSS of Tutela, the most since the restart", value=sum(high), unit="MB"),
        Figure(name="hosts said to be Unreachable", value=log.count('"node is unreachable"'), unit="", bar=0),
        Figure(name="passes that failed", value=log.count('"pass failed"'), unit="", bar=0),
        Figure(name="complaints of agents", value=len(ground.hosts.log().splitlines()), unit=""),
    ]


def _cpu(pids: Sequence[int]) -> float:
    """User and system seconds of processes, and of their children that ended (proc(5), fields 14 to 17)."""
    found = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += sum(int(each) for each in fields[11:15])
    return found / os.sysconf("SC_CLK_TCK")
