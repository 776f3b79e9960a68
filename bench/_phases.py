"""What is done to the fleet, and measured while it is done. Each phase returns its figures."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import _fill
from bench._figures import Figure, percentile, spread
from bench._ground import Away, Client, Ground, until

LOAD_PAUSE = 0.02
"""Between a reader's requests: each of the four asks some 30 times a second."""

PACE = 300
"""Containers a second that are asked for in the paced deploy: a third of the bar of what is to be committed."""

SETTLE_SECONDS = 10.0
LIST_BAR, ASSIGN_BAR, COMMITTED_BAR = 100.0, 150.0, 1000.0
AT_MEDIUM, AT_LARGE = "at 30,000", "at 100,000"


@dataclass
class Readers:
    """Times in seconds of those who read the API while something else goes on."""

    times: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0

    def figures(self, when: str) -> list[Figure]:
        """Of each kind of request."""
        refused = Figure(name=f"reads answered 503 {when}", value=self.refused, unit="", bar=0)
        return [
            each
            for name, seconds in sorted(self.times.items())
            for each in spread(f"{name} {when}", seconds, LIST_BAR, AT_MEDIUM)
        ] + [refused]


@contextlib.contextmanager
def reading(ground: Ground) -> Iterator[Readers]:
    """Lists of 25 and single objects are asked for, by a connection for each kind, until the block ends."""
    client = Client(ground.server)
    found = client.insist("GET", "/api/v1/service/?limit=25")["objects"]
    running = client.insist("GET", "/api/v1/container/?limit=25")["objects"]
    client.close()
    kinds = {
        "list 25 services": ["/api/v1/service/?limit=25"],
        "list 25 containers": ["/api/v1/container/?limit=25"],
        "get a service": [each["resource_uri"] for each in found],
        "get a container": [each["resource_uri"] for each in running],
    }
    readers, end = Readers(), threading.Event()

    def read(name: str, paths: Sequence[str]) -> None:
        own = Client(ground.server)
        while not end.is_set():
            began = time.perf_counter()
            try:
                own.call("GET", random.choice(paths))
            except Away:
                readers.refused += 1
            readers.times.setdefault(name, []).append(time.perf_counter() - began)
            end.wait(LOAD_PAUSE)
        own.close()

    threads = [threading.Thread(target=read, args=each) for each in kinds.items() if each[1]]
    for each in threads:
        each.start()
    try:
        yield readers
    finally:
        end.set()
        for each in threads:
            each.join()


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


def deployed(ground: Ground, services: int, each: int, pace: float | None, patience: float) -> list[Figure]:
    """New services start, all at once or at `pace` containers a second, while four readers read; then they go."""
    when = "at once" if pace is None else f"at {pace:.0f}/s"
    total = services * each
    before = int(ground.record.value(_fill.RUNNING))
    paths = _fill.make(ground, f"new-{int(time.time())}", services, each)
    ground.hosts.all("clear")
    accepted: dict[str, float] = {}
    with reading(ground) as readers:
        began = time.monotonic()

        def start(client: Client, path: str) -> None:
            _fill.start(client, path)
            accepted[path.strip("/").rpartition("/")[2]] = time.monotonic()

        if pace is None:
            _fill.each_of(ground, paths, start)
        else:
            client = Client(ground.server)
            for number, path in enumerate(paths):
                time.sleep(max(0.0, began + number * each / pace - time.monotonic()))
                start(client, path)
            client.close()
        until(lambda: ground.hosts.total("received") >= total, patience)
        done = until(lambda: int(ground.record.value(_fill.RUNNING)) >= before + total, patience)
        running = None if done is None else time.monotonic() - began
    told = ground.hosts.all("told")
    received = [(service, at) for one in told for service, at in one["received"] if service in accepted]
    waits = [at - accepted[service] for service, at in received]
    last, ingested = max((at for _, at in received), default=began), max(one["last_report"] for one in told)
    first = min((at for _, at in received), default=began)
    rate = len(received) / (last - began) if last > began else None
    reported = sum(one["reported"] for one in told)
    missing = "" if len(received) == total else f"{total - len(received)} of {total} never came"
    figures = spread(f"accept to assignment, {when}", waits, ASSIGN_BAR, AT_MEDIUM, missing)
    if pace is None:
        figures.append(
            Figure(
                name="placements committed, start call to agent",
                value=rate,
                unit="/s",
                bar=COMMITTED_BAR,
                at_least=True,
                note=missing,
            )
        )
        ingest = reported / (ingested - first) if ingested > first else None
        figures.append(
            Figure(
                name="containers reported and accepted",
                value=ingest,
                unit="/s",
                note=f"{sum(one['reports'] for one in told)} reports",
            )
        )
    calls = [seconds for one in told for seconds in one["report_seconds"]]
    figures += spread(f"a report until it is durable, {when}", calls)
    figures.append(Figure(name=f"all {total} Running, {when}", value=running, unit="s", note=missing))
    figures += readers.figures(f"during the deploy {when}")
    return figures + removed(ground, paths, before, when, patience)


def removed(ground: Ground, paths: Sequence[str], left: int, when: str, patience: float) -> list[Figure]:
    """These services are terminated; until nothing of them is left."""
    until(lambda: not ground.record.value(_fill.UNDER_WAY), patience)
    began = time.monotonic()
    _fill.each_of(ground, paths, lambda client, path: client.insist("DELETE", path))
    gone = until(
        lambda: (
            ground.record.value("SELECT count(*) FROM containers WHERE terminated_at IS NULL") <= left
            and not ground.record.value(_fill.UNDER_WAY)
        ),
        patience,
    )
    took = None if gone is None else time.monotonic() - began
    return [Figure(name=f"terminated again, those {when}", value=took, unit="s")]


def at_rest(ground: Ground, seconds: float) -> list[Figure]:
    """Nothing happens: what that costs."""
    time.sleep(SETTLE_SECONDS)
    parts = {"Tutela": ground.tutela(), "Postgres": ground.database(), "the model hosts": ground.hosts.pids}
    before = {name: _cpu(pids) for name, pids in parts.items()}
    ground.record.count_anew()
    began = time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - began
    used = {name: (_cpu(pids) - before[name]) / span * 100 for name, pids in parts.items()}
    size = ground.record.value("SELECT pg_database_size(current_database())") / 1e6
    wide = f"over {span:.0f} s"
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
            note="BEGIN and COMMIT counted",
        ),
        Figure(
            name="at rest: statements without BEGIN, COMMIT",
            value=ground.record.statements(brackets=False) / span,
            unit="/s",
        ),
        Figure(name="database", value=size, unit="MB"),
        Figure(name="RSS of Tutela at rest", value=ground.memory(), unit="MB", bar=1536, bar_for=AT_MEDIUM),
    ]


def storm(ground: Ground, patience: float) -> list[Figure]:
    """All connections are cut at once."""
    until(lambda: ground.hosts.total("in_sync") == ground.hosts.count, patience)
    ground.hosts.all("clear")
    at = min(each["at"] for each in ground.hosts.all("cut"))
    return _back(ground, at, "after a cut of all connections", patience)


def restart(ground: Ground, patience: float) -> list[Figure]:
    """kill -9 of the control plane, and started again at once."""
    until(lambda: ground.hosts.total("in_sync") == ground.hosts.count, patience)
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
            time.sleep(0.1)
    until(lambda: ground.hosts.total("in_sync", at) == count and not ground.record.value(_fill.UNDER_WAY), patience)
    synced = ground.hosts.total("in_sync", at)
    whole = time.monotonic() - at if synced == count else None
    told = ground.hosts.all("told")
    sessions = ground.hosts.total("registrations")
    reported = sum(each["reported"] for each in told)
    note = f"{sessions} sessions for {count} hosts" + ("" if synced == count else f"; {synced} in sync")
    rate = reported / (max(each["last_report"] for each in told) - at)
    return [
        Figure(name=f"all connected {when}", value=connected, unit="s", note=note),
        Figure(
            name=f"all in sync, no service due, {when}",
            value=whole,
            unit="s",
            bar=bar,
            bar_for=AT_MEDIUM if bar else "",
        ),
        Figure(name=f"containers reported {when}", value=rate, unit="/s", note=f"{reported} in all"),
    ]


def peak(ground: Ground) -> Figure:
    """The most memory that the control plane's process ever had, in this life."""
    high = next(
        line for line in Path(f"/proc/{ground.server.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return Figure(name="RSS of Tutela, the most since its start", value=int(high.split()[1]) / 1000, unit="MB")


def _cpu(pids: Sequence[int]) -> float:
    """User and system seconds of processes, and of their children that ended (proc(5), fields 14 to 17)."""
    found = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += sum(int(each) for each in fields[11:15])
    return found / os.sysconf("SC_CLK_TCK")


__all__ = ["at_rest", "deployed", "filled", "joined", "peak", "percentile", "reading", "removed", "restart", "storm"]
