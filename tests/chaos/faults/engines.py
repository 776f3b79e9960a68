"""What runs containers: dockerd, containerd, shims, the containers' own processes, and the power."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

from tests.chaos.fault import Fault, Wound
from tests.chaos.stage import Stage, freeze, thaw
from tests.harness.hosts import Host


def _keeping(stage: Stage) -> list[Host]:
    return [host for host in stage.hosts if host.live_restore]


def _losing(stage: Stage) -> list[Host]:
    return [host for host in stage.hosts if not host.live_restore]


def _has_losing(stage: Stage) -> bool:
    return bool(_losing(stage))


def _dies(which: Callable[[Stage], list[Host]], how: Callable[[Host], None]) -> Callable[[Stage, random.Random], Wound]:
    def inject(stage: Stage, chance: random.Random) -> Wound:
        host = chance.choice(which(stage))
        if not host.live_restore:
            stage.reboots(host)
        how(host)
        return Wound(where=f"on {host.name}", heal=host.engine.restart)

    return inject


def _freezes(name: str) -> Callable[[Stage, random.Random], Wound]:
    def inject(stage: Stage, chance: random.Random) -> Wound:
        host = chance.choice(stage.hosts)
        pids = host.engine.processes(name)
        freeze(pids)
        return Wound(where=f"on {host.name}", heal=lambda: thaw(pids))

    return inject


def _kill_containerd(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    freeze(host.engine.processes("containerd"), signal.SIGKILL)
    return Wound(where=f"on {host.name}", well=lambda: bool(host.engine.processes("containerd")))


def _freeze_shim(stage: Stage, chance: random.Random) -> Wound:
    """Whatever is done about it is that container's alone."""
    victim = stage.victim(chance)
    pid = victim.host.engine.shim_of(victim.engine_id)
    freeze([pid])
    return Wound(where=f"of {victim.name} on {victim.host.name}", heal=lambda: thaw([pid]))


def _kill_shim(stage: Stage, chance: random.Random) -> Wound:
    victim = stage.victim(chance)
    os.kill(victim.host.engine.shim_of(victim.engine_id), signal.SIGKILL)
    return Wound(where=f"of {victim.name} on {victim.host.name}", well=lambda: stage.other_life(victim))


def _kill_container(stage: Stage, chance: random.Random) -> Wound:
    victim = stage.victim(chance)
    os.kill(victim.pid, signal.SIGKILL)
    return Wound(where=f"{victim.name} on {victim.host.name}", well=lambda: stage.other_life(victim))


def _power(stage: Stage, chance: random.Random) -> Wound:
    host = chance.choice(stage.hosts)
    stage.reboots(host)
    host.kill_agent()
    host.engine.power_off()

    def boot() -> None:
        host.engine.restart()
        host.start_agent()

    return Wound(where=f"of {host.name}", heal=boot)


def _kill(host: Host) -> None:
    host.engine.kill()


def _terminate(host: Host) -> None:
    host.engine.terminate()


FAULTS = (
    # The engine's own start is part of these bounds: 2.4 s with live-restore, up to 13 s without (F11, F12).
    Fault(name="dockerd killed", number="F12", bound=7.4, inject=_dies(_keeping, _kill), stays=(0.1, 4.0)),
    Fault(name="dockerd SIGTERM", number="F13", bound=7.4, inject=_dies(_keeping, _terminate), stays=(0.1, 2.0)),
    Fault(
        name="dockerd killed, no live-restore", number="F11", bound=23, inject=_dies(_losing, _kill),
        stays=(0.1, 4.0), needs=_has_losing,
    ),
    Fault(
        name="dockerd SIGTERM, no live-restore", number="F13", bound=23, inject=_dies(_losing, _terminate),
        stays=(0.1, 2.0), needs=_has_losing,
    ),
    Fault(name="dockerd SIGSTOP", number="F14", bound=10, inject=_freezes("dockerd"), stays=(2.0, 14.0)),
    Fault(name="containerd SIGSTOP", number="F15", bound=15, inject=_freezes("containerd"), stays=(2.0, 12.0)),
    Fault(name="containerd killed", number="F16", bound=20, inject=_kill_containerd),
    Fault(name="shim SIGSTOP", number="F17", bound=15, inject=_freeze_shim, stays=(2.0, 8.0)),
    Fault(name="shim killed", number="F18", bound=5, inject=_kill_shim),
    Fault(name="container killed", number="F18", bound=5, inject=_kill_container),
    Fault(name="power cut", number="F19", bound=15, inject=_power, stays=(0.1, 3.0)),
)  # fmt: skip
