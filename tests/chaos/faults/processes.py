"""Tutela's own processes: killed, asked to end, frozen, with a torn disk, or once too often."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence

from tests.chaos.fault import Broken, Fault, Wound
from tests.chaos.stage import Stage, freeze, thaw
from tests.harness.hosts import Host
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

REFUSED = "this node is refused"


def connections(host: Host) -> int:
    """How often the host's agent reached a control plane."""
    return host.log().count('"event": "connected"')


def _again(host: Host) -> Callable[[], bool]:
    """Whether its agent has another session than now."""
    before = connections(host)
    return lambda: connections(host) > before


def _restart(stage: Stage, planes: Sequence[TutelaProcess]) -> Callable[[], None]:
    def heal() -> None:
        for plane in planes:
            plane.start()
        stage.regain(*planes)

    return heal


def _kill_one(stage: Stage, chance: random.Random) -> Wound:
    plane = chance.choice(stage.planes)
    stage.lose(plane)
    plane.kill()
    return Wound(where=f"of {plane.port}", heal=_restart(stage, [plane]))


def _kill_all(stage: Stage, chance: random.Random) -> Wound:
    """And a container crashes meanwhile, which the engine and the agent alone bring back."""
    victim = stage.victim(chance)
    stage.lose(*stage.planes)
    well = [_again(host) for host in stage.hosts]
    for plane in stage.planes:
        plane.kill()
    os.kill(victim.pid, signal.SIGKILL)

    def meanwhile() -> None:
        limit = 5 * stage.calibration.factor()
        wait_for(lambda: stage.other_life(victim), timeout=limit, what=f"{victim.name} to run with no control plane")

    return Wound(
        where=f"and {victim.name} crashes",
        meanwhile=meanwhile,
        heal=_restart(stage, stage.planes),
        well=lambda: all(each() for each in well),
    )


def _end_one(stage: Stage, chance: random.Random) -> Wound:
    plane = chance.choice(stage.planes)
    stage.lose(plane)
    code = plane.stop()
    if code != 0:
        raise Broken(f"a control plane that was asked to end said {code}")
    return Wound(where=f"of {plane.port}", heal=_restart(stage, [plane]))


def _freeze_plane(stage: Stage, chance: random.Random) -> Wound:
    plane = chance.choice(stage.planes)
    stage.lose(plane)
    freeze([plane.pid])

    def heal() -> None:
        thaw([plane.pid])
        stage.regain(plane)

    return Wound(where=f"of {plane.port}", heal=heal)


def _kill_agent(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    well = _again(host)
    host.kill_agent()
    return Wound(where=f"on {host.name}", heal=host.start_agent, well=well)


def _end_agent(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    well = _again(host)
    host.end_agent()
    return Wound(where=f"on {host.name}", heal=host.start_agent, well=well)


def _freeze_agent(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    freeze([host.agent_pid])
    return Wound(where=f"on {host.name}", heal=lambda: thaw([host.agent_pid]))


def _tear_ledger(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    well = _again(host)
    host.kill_agent()
    ledger = host.state / "agent" / "ledger.json"
    content = ledger.read_bytes()
    how = chance.choice(["cut", "empty", "gone"])
    match how:
        case "cut":
            ledger.write_bytes(content[: chance.randrange(1, len(content) - 1)])
        case "empty":
            ledger.write_bytes(b"")
        case _:
            ledger.unlink()
    return Wound(where=f"on {host.name}: {how}", heal=host.start_agent, well=well)


def _foreign_ledger(stage: Stage, chance: random.Random) -> Wound:
    """Such an agent is refused, and touches nothing, until somebody moves the ledger away."""
    host = chance.choice(stage.hosts)
    well, before = _again(host), host.log().count(REFUSED)
    host.kill_agent()
    ledger = host.state / "agent" / "ledger.json"
    ledger.write_bytes(b'{"cluster_id": "00000000-0000-4000-8000-000000000000", "complete": true}')
    host.start_agent()

    def meanwhile() -> None:
        limit = 10 * stage.calibration.factor(starts=True)
        what = f"F9: {host.name} to be refused with the ledger of another installation"
        wait_for(lambda: host.log().count(REFUSED) > before, timeout=limit, what=what, every=0.2)

    def heal() -> None:
        host.kill_agent()
        ledger.unlink()
        host.start_agent()

    return Wound(where=f"on {host.name}", meanwhile=meanwhile, heal=heal, well=well)


def _second_agent(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)

    def meanwhile() -> None:
        done = host.command("agent", "run")
        if done.returncode == 0:
            raise Broken(f"a second agent on {host.name} ended well: {done.stdout} {done.stderr}")

    return Wound(where=f"on {host.name}", meanwhile=meanwhile)


FAULTS = (
    Fault(
        name="control plane killed",
        number="F5",
        bound=10,
        inject=_kill_one,
        starts=True,
        stays=(0.1, 3.0),
        api_away=True,
    ),
    Fault(
        name="all control planes killed",
        number="F6",
        bound=10,
        inject=_kill_all,
        starts=True,
        stays=(1.0, 6.0),
        api_away=True,
    ),
    Fault(
        name="control plane SIGTERM",
        number="F5",
        bound=10,
        inject=_end_one,
        starts=True,
        stays=(0.1, 2.0),
        api_away=True,
    ),
    Fault(name="control plane SIGSTOP", number="F4", bound=20, inject=_freeze_plane, stays=(2.0, 9.0), api_away=True),
    Fault(name="agent killed", number="F7", bound=10, inject=_kill_agent, starts=True, stays=(0.1, 3.0)),
    Fault(name="agent SIGTERM", number="F7", bound=10, inject=_end_agent, starts=True, stays=(0.1, 2.0)),
    Fault(name="agent SIGSTOP", number="F8", bound=15, inject=_freeze_agent, stays=(2.0, 9.0)),
    Fault(name="ledger torn", number="F9", bound=10, inject=_tear_ledger, starts=True, stays=(0.1, 1.0)),
    Fault(name="ledger of another", number="F9", bound=10, inject=_foreign_ledger, starts=True, stays=(0.1, 2.0)),
    Fault(name="second agent", number="F10", bound=5, inject=_second_agent),
)
