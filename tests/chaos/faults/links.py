"""The way between a host and the control planes: cut, one-way, flapping, slow. Rules are in the hosts' namespaces."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from domain.assignment import RETURN_SECONDS
from tests.chaos.fault import Fault, Wound
from tests.chaos.stage import Stage
from tests.harness.wait import let_pass, wait_for


def _cut(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    host.engine.cut()
    return Wound(where=f"of {host.name}", heal=host.engine.heal)


def _one_way(chain: str, side: str) -> Callable[[Stage, random.Random], Wound]:
    def inject(stage: Stage, chance: random.Random) -> Wound:
        host, rule = chance.choice(stage.hosts), (side, stage.lan.address)
        host.engine.drop(*rule, chain=chain)
        return Wound(where=f"of {host.name}", heal=lambda: host.engine.undrop(*rule, chain=chain))

    return inject


def _flap(stage: Stage, chance: random.Random) -> Wound:
    host, over = chance.choice(stage.hosts), threading.Event()

    def flapping() -> None:
        while not over.is_set():
            host.engine.cut()
            over.wait(1.5)
            host.engine.heal()
            over.wait(1.0)

    thread = threading.Thread(target=flapping, daemon=True)
    thread.start()

    def heal() -> None:
        over.set()
        thread.join(timeout=20)

    return Wound(where=f"of {host.name}", heal=heal)


def _slow(stage: Stage, chance: random.Random) -> Wound:
    """For what is connected already too."""
    for pipe in stage.pipes.values():
        pipe.delay, pipe.rate = 0.5, 64 * 1024

    def heal() -> None:
        for pipe in stage.pipes.values():
            pipe.delay, pipe.rate = 0.0, 0

    return Wound(where="of all hosts", heal=heal)


def _terminate_away(stage: Stage, chance: random.Random) -> Wound:
    """What is deleted while its host cannot be reached is gone soon after the host is back (I9)."""
    host = chance.choice(stage.hosts)
    uuid = stage.made("leaver", tags=[{"name": host.name}], autorestart="ALWAYS")
    host.engine.cut()
    let_pass(chance.uniform(0, 6))
    stage.terminate_soon(uuid)
    return Wound(where=f"of {host.name}", heal=host.engine.heal, well=lambda: stage.terminated(uuid))


def _lost(stage: Stage, chance: random.Random) -> Wound:
    """Given up after 5 s, its slot runs elsewhere; what then runs twice is gone soon after the host is back (I2b)."""
    host, count = chance.choice(stage.hosts), len(stage.hosts)
    more = {"target_num_containers": count, "deployment_strategy": "HIGH_AVAILABILITY", "autorestart": "ALWAYS"}
    uuid = stage.made("mover", autoreplace="ALWAYS", lost_after=5, **more)
    stage.movable.add(uuid)
    others = [each for each in stage.hosts if each is not host]

    def meanwhile() -> None:
        # As soon as that is said to be: 15 s here, 10 s on the quiet box (docs/design/fleet.md).
        limit = 15 * stage.calibration.factor()
        what = f"I2b: the slot of {uuid} on {host.name} to run elsewhere"
        try:
            wait_for(lambda: stage.count(uuid, others) == count, timeout=limit, what=what, every=0.2)
        except AssertionError as late:
            # After a moment in which nobody was heard, as when the database stood still, each has its time (decision
            # 27).
            if "most hosts were silent until" not in (said := str(stage.explain(uuid))):
                raise AssertionError(f"{late}; it is told: {said}") from late
            wait_for(lambda: stage.count(uuid, others) == count, timeout=RETURN_SECONDS, what=what, every=0.2)

    def well() -> bool:
        return stage.count(uuid, stage.hosts) == count

    host.engine.cut()
    return Wound(
        where=f"{host.name}",
        meanwhile=meanwhile,
        heal=host.engine.heal,
        well=well,
        after=lambda: stage.terminate_soon(uuid),
    )


def _several(stage: Stage) -> bool:
    return len(stage.hosts) > 1


FAULTS = (
    Fault(name="link cut", number="F29", bound=15, inject=_cut, stays=(1.0, 10.0)),
    Fault(name="commands do not pass", number="F30", bound=15, inject=_one_way("INPUT", "-s"), stays=(2.0, 9.0)),
    Fault(name="reports do not pass", number="F30", bound=15, inject=_one_way("OUTPUT", "-d"), stays=(2.0, 9.0)),
    Fault(name="link flaps", number="F31", bound=15, inject=_flap, stays=(5.0, 10.0)),
    Fault(name="links are slow", number="F32", bound=60, inject=_slow, stays=(3.0, 8.0)),
    Fault(name="deleted while cut off", number="F29, I9", bound=30, inject=_terminate_away, stays=(0.5, 3.0)),
    Fault(name="host lost, slots move", number="F29, I2b", bound=30, inject=_lost, needs=_several),
)
