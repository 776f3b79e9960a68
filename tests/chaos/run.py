"""One run: a fleet with work on it, kills in turn, and the verdict."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.chaos.parts import parts_of, recover
from tests.chaos.plan import kills
from tests.chaos.watch import LABEL, Watch
from tests.harness.hosts import Hosts
from tests.harness.images import SLEEPER
from tests.harness.wait import let_pass, wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Seconds to recover by kind of what was killed; what should not have been; how often was looked, in vain too."""

    recoveries: Mapping[str, Sequence[float]]
    faults: Sequence[str]
    looks: int
    blind: int

    def lines(self) -> Iterator[str]:
        """A table for people, and the verdict."""
        yield f"{'killed':16} {'times':>5} {'p50 s':>7} {'max s':>7}"
        for kind, values in sorted(self.recoveries.items()):
            yield f"{kind:16} {len(values):5} {statistics.median(values):7.2f} {max(values):7.2f}"
        yield f"looked {self.looks} times at the engines, {self.blind} times at one that was down"
        yield from self.faults
        yield "no container restarted that was no target" if not self.faults else f"{len(self.faults)} faults"


def run(dsn: str, *, hosts: int, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Kill for so many seconds, each part once at least."""
    with _fleet(dsn, hosts) as fleet:
        uuids = [_service(fleet, name, hosts) for name in ("web", "worker", "store")]
        watches = {host.name: Watch(host.name, host.engine) for host in fleet.hosts}
        for watch in watches.values():
            watch.start()
        recoveries = _kill(fleet, watches, seconds, seed, say)
        faults = _end(fleet, uuids)
        for watch in watches.values():
            watch.stop()
        return Report(
            recoveries=recoveries,
            faults=[*faults, *(fault for watch in watches.values() for fault in watch.faults())],
            looks=sum(watch.looks for watch in watches.values()),
            blind=sum(watch.blind for watch in watches.values()),
        )


@contextmanager
def _fleet(dsn: str, count: int) -> Iterator[Hosts]:
    """With live-restore, and so without overlay: a dockerd that dies takes no container along."""
    made = Hosts(dsn, count, network="ports", live_restore=True)
    try:
        made.start()
        yield made
    except BaseException:
        print(made.last_words())
        raise
    finally:
        made.close()


def _service(fleet: Hosts, name: str, count: int) -> str:
    more = {"target_num_containers": count, "autorestart": "ALWAYS", "deployment_strategy": "HIGH_AVAILABILITY"}
    return fleet.service(name, None, image=SLEEPER, **more)


def _kill(
    fleet: Hosts, watches: Mapping[str, Watch], seconds: float, seed: int, say: Callable[[str], None]
) -> Mapping[str, Sequence[float]]:
    parts, recoveries = parts_of(fleet, watches), defaultdict[str, list[float]](list)
    end = time.monotonic() + seconds
    for number, kill in enumerate(kills(seed, list(parts))):
        if number >= len(parts) and time.monotonic() >= end:
            break
        let_pass(kill.calm)
        part = parts[kill.part]
        took = recover(part, kill.away)
        recoveries[part.kind].append(took)
        away = f"away for {kill.away:.1f} s, " if part.start else ""
        say(f"{kill.part}: {away}well {took:.2f} s later")
    return recoveries


def _end(fleet: Hosts, uuids: Sequence[str]) -> list[str]:
    """What is not as it was wanted in the end."""
    for uuid in uuids:
        fleet.running(uuid, len(fleet.hosts))
    there = [len(host.engine.client().containers(all=True, filters={"label": LABEL})) for host in fleet.hosts]
    wait_for(lambda: fleet.api.get("/readyz", auth=False).status == 200, timeout=30, what="all to be ready")
    wanted = len(uuids) * len(fleet.hosts)
    return [] if sum(there) == wanted else [f"{wanted} containers are wanted, on the engines are {there}"]
