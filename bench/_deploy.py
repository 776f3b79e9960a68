"""Services that come and go beside those at rest, and what others see of the API meanwhile."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import _fill
from bench._figures import AT_MEDIUM, Figure, spread
from bench._ground import Away, Client, Ground, until

LOAD_PAUSE = 0.02
"""Between a reader's requests: each of the four asks some 30 times a second."""

PACE = 300
"""Containers a second that are asked for in the paced deploy: a third of the bar of what is to be committed."""

LIST_BAR, ASSIGN_BAR, COMMITTED_BAR = 100.0, 150.0, 1000.0


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


def deployed(ground: Ground, services: int, each: int, pace: float | None, patience: float) -> list[Figure]:
    """New services start, all at once or at `pace` containers a second, while four readers read; then they go."""
    when = "at once" if pace is None else f"at {pace:.0f}/s"
    total = services * each
    before = int(ground.record.value(_fill.RUNNING))
    paths = _fill.make(ground, f"new-{int(time.time())}", services, each)
    ground.hosts.all("clear")
    with reading(ground) as readers:
        began = time.monotonic()
        accepted = _started(ground, paths, None if pace is None else each / pace)
        until(lambda: ground.hosts.total("received") >= total, patience)
        done = until(lambda: int(ground.record.value(_fill.RUNNING)) >= before + total, patience)
        running = None if done is None else time.monotonic() - began
    told = ground.hosts.all("told")
    figures = _assigned(told, accepted, began, total, when, at_once=pace is None)
    figures.append(Figure(name=f"all {total} Running, {when}", value=running, unit="s"))
    return figures + readers.figures(f"during the deploy {when}") + removed(ground, paths, before, when, patience)


def _started(ground: Ground, paths: Sequence[str], every: float | None) -> dict[str, float]:
    """Start them, some at once or one `every` so many seconds; when each was accepted, by its uuid."""
    accepted: dict[str, float] = {}

    def start(client: Client, path: str) -> None:
        _fill.start(client, path)
        accepted[path.strip("/").rpartition("/")[2]] = time.monotonic()

    if every is None:
        _fill.each_of(ground, paths, start)
        return accepted
    client, began = Client(ground.server), time.monotonic()
    for number, path in enumerate(paths):
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        start(client, path)
    client.close()
    return accepted


def _assigned(
    told: Sequence[dict[str, Any]], accepted: dict[str, float], began: float, total: int, when: str, *, at_once: bool
) -> list[Figure]:
    """From what the agents heard and said: how long that took, and, where all was asked for at once, at which rate."""
    received = [(service, at) for one in told for service, at in one["received"] if service in accepted]
    times = [at for _, at in received] or [began]
    missing = "" if len(received) == total else f"{total - len(received)} of {total} never came"
    waits = [at - accepted[service] for service, at in received]
    figures = spread(f"accept to assignment, {when}", waits, ASSIGN_BAR, AT_MEDIUM, missing)
    figures += spread(f"a report until it is durable, {when}", [each for one in told for each in one["report_seconds"]])
    if not at_once:
        return figures
    span, saying = max(times) - began, max(one["last_report"] for one in told) - min(times)
    reports, reported = (sum(one[name] for one in told) for name in ("reports", "reported"))
    return [
        *figures,
        Figure(
            name="placements committed, first call to last agent",
            value=len(received) / span if span > 0 else None,
            unit="/s",
            bar=COMMITTED_BAR,
            at_least=True,
            note=missing,
        ),
        Figure(
            name="containers reported and accepted",
            value=reported / saying if saying > 0 else None,
            unit="/s",
            note=f"{reports} reports",
        ),
    ]


def removed(ground: Ground, paths: Sequence[str], left: int, when: str, patience: float) -> list[Figure]:
    """These services are terminated, until nothing is left. One that still starts may not be (409): it stays."""
    until(lambda: not ground.record.value(_fill.UNDER_WAY), patience)
    began, stay = time.monotonic(), []

    def terminate(client: Client, path: str) -> None:
        try:
            client.insist("DELETE", path)
        except AssertionError as error:
            stay.append(str(error))

    _fill.each_of(ground, paths, terminate)
    gone = until(
        lambda: (
            ground.record.value("SELECT count(*) FROM containers WHERE terminated_at IS NULL") <= left
            and not ground.record.value(_fill.UNDER_WAY)
        ),
        patience,
    )
    took = None if gone is None else time.monotonic() - began
    note = f"{len(stay)} stay: {stay[0][:100]}" if stay else ""
    return [Figure(name=f"terminated again, those {when}", value=took, unit="s", note=note)]
