"""What runs containers: dockerd, containerd, shims, the containers' own processes, and the power."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence

import docker
import requests

from tests.chaos.fault import Fault, Wound
from tests.chaos.stage import Stage, freeze, thaw
from tests.harness.hosts import Host
from tests.harness.wait import wait_for

CRASH = 5.0
"""Seconds in which a container that crashed runs again (F18)."""

SETTLES = 1.0
"""Seconds that a containerd has answered before it counts as back."""


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


def _others_go_on(stage: Stage, chance: random.Random, hosts: Sequence[Host], spare: str = "") -> Callable[[], None]:
    """While something hangs, a container elsewhere that crashes is restarted as ever (I14)."""

    def meanwhile() -> None:
        victim, limit = stage.victim(chance, hosts=hosts, spare=spare), CRASH * stage.calibration.factor()
        os.kill(victim.pid, signal.SIGKILL)
        what = f"I14: {victim.name} on {victim.host.name} to be restarted while others hang"
        wait_for(lambda: stage.other_life(victim), timeout=limit, what=what, every=0.05)

    return meanwhile if hosts else lambda: None


def _freezes(name: str) -> Callable[[Stage, random.Random], Wound]:
    def inject(stage: Stage, chance: random.Random) -> Wound:
        host = chance.choice(stage.hosts)
        pids = host.engine.processes(name)
        freeze(pids)
        others = _others_go_on(stage, chance, [each for each in stage.hosts if each is not host])
        return Wound(where=f"on {host.name}", meanwhile=others, heal=lambda: thaw(pids))

    return inject


def _kill_containerd(stage: Stage, chance: random.Random) -> Wound:
    """What ends while it is away is shown as running for ever (E35): nothing is aimed at before it tells ends again."""
    host = chance.choice(stage.hosts)
    freeze(host.engine.processes("containerd"), signal.SIGKILL)
    serves: list[float] = []

    def well() -> bool:
        try:
            host.engine.client().top("canary")
        except (docker.errors.APIError, requests.RequestException):
            serves.clear()
            return False
        serves.append(time.monotonic())
        return serves[-1] - serves[0] > SETTLES

    return Wound(where=f"on {host.name}", well=well)


def _freeze_shim(stage: Stage, chance: random.Random) -> Wound:
    """Whatever is done about it is that container's alone."""
    victim = stage.victim(chance)
    pid = victim.host.engine.shim_of(victim.engine_id)
    freeze([pid])
    others = _others_go_on(stage, chance, [victim.host], spare=victim.key)
    return Wound(where=f"of {victim.name} on {victim.host.name}", meanwhile=others, heal=lambda: thaw([pid]))


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
    Fault(name="power cut", number="F19", bound=15, inject=_power, starts=True, stays=(0.1, 3.0)),
)  # fmt: skip
