"""An operator's hands on an engine: on what is Tutela's there, and with things of the operator's own."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import docker

from tests.chaos.fault import Broken, Fault, Wound
from tests.chaos.stage import PORT, TAGGED, Stage, Victim, freeze, thaw
from tests.harness.images import SLEEPER
from tests.harness.wait import wait_for


def _by_hand(do: Callable[[Any, Victim], object]) -> Callable[[Stage, random.Random], Wound]:
    """The container must run again, as another life of the same."""

    def inject(stage: Stage, chance: random.Random) -> Wound:
        victim = stage.victim(chance)
        do(victim.host.engine.client(), victim)
        return Wound(where=f"{victim.name} on {victim.host.name}", well=lambda: stage.other_life(victim))

    return inject


def _stop(client: Any, victim: Victim) -> None:
    client.stop(victim.engine_id, timeout=2)


def _kill(client: Any, victim: Victim) -> None:
    client.kill(victim.engine_id)


def _remove(client: Any, victim: Victim) -> None:
    client.remove_container(victim.engine_id, force=True)


def _restart(client: Any, victim: Victim) -> None:
    client.restart(victim.engine_id, timeout=2)


def _rename(stage: Stage, chance: random.Random) -> Wound:
    """Repaired or made again, whichever: then it runs under its name."""
    victim = stage.victim(chance)
    client = victim.host.engine.client()
    before = client.inspect_container(victim.engine_id)["Name"]
    client.rename(victim.engine_id, f"renamed-{chance.randrange(1_000_000)}")
    # What a name is good for is kept by labels: the container may go on under the other one (RELIABILITY F20).
    return Wound(where=f"{before.lstrip('/')} on {victim.host.name}")


def _pause(stage: Stage, chance: random.Random) -> Wound:
    victim = stage.victim(chance)
    client = victim.host.engine.client()
    client.pause(victim.engine_id)

    def heal() -> None:
        with contextlib.suppress(docker.errors.APIError):  # somebody was faster
            client.unpause(victim.engine_id)

    return Wound(where=f"{victim.name} on {victim.host.name}", heal=heal)


def _policy(stage: Stage, chance: random.Random) -> Wound:
    """Taken from the engine, the restart is the agent's."""
    victim = stage.victim(chance)
    client: Any = victim.host.engine.client()
    client.update_container(victim.engine_id, restart_policy={"Name": "no"})
    client.kill(victim.engine_id)
    return Wound(where=f"{victim.name} on {victim.host.name}", well=lambda: stage.other_life(victim))


def _taken(what: Callable[[Any, str], dict[str, Any]]) -> Callable[[Stage, random.Random], Wound]:
    """While the agent looks away its container is removed, and a stranger's takes its port or its name."""

    def inject(stage: Stage, chance: random.Random) -> Wound:
        victim = stage.victim(chance, "ports")
        host, client = victim.host, victim.host.engine.client()
        name = client.inspect_container(victim.engine_id)["Name"].lstrip("/")
        freeze([host.agent_pid])
        try:
            client.remove_container(victim.engine_id, force=True)
            taker = client.create_container(SLEEPER, **what(client, name))["Id"]
            client.start(taker)
        finally:
            thaw([host.agent_pid])
        began = client.inspect_container(taker)["State"]["StartedAt"]

        def heal() -> None:
            state = client.inspect_container(taker)["State"]
            client.remove_container(taker, force=True)
            if not state["Running"] or state["StartedAt"] != began:
                raise Broken(f"F21: the stranger with {name}'s port or name was touched: {state}")

        return Wound(where=f"{victim.name} on {host.name}", heal=heal, well=lambda: stage.other_life(victim))

    return inject


def _port(client: Any, name: str) -> dict[str, Any]:
    return {"ports": [80], "host_config": client.create_host_config(port_bindings={80: PORT})}


def _name(client: Any, name: str) -> dict[str, Any]:
    return {"name": name}


def _untag(stage: Stage, chance: random.Random) -> Wound:
    """The image of a running service loses its name, and then its container is removed."""
    victim = stage.victim(chance, "tagged")
    client = victim.host.engine.client()
    client.remove_image(TAGGED, force=True)
    client.remove_container(victim.engine_id, force=True)

    def meanwhile() -> None:
        limit = 10 * stage.calibration.factor()
        wait_for(lambda: stage.other_life(victim), timeout=limit, what=f"F36: {victim.name} to run again", every=0.1)

    return Wound(where=f"{victim.name} on {victim.host.name}", meanwhile=meanwhile, heal=lambda: _tag(client))


def _tag(client: Any) -> None:
    client.tag(SLEEPER, TAGGED)


def _registry_away(stage: Stage, chance: random.Random) -> Wound:
    """A redeployment that cannot pull touches no container and fails (I7, F34)."""
    stage.registry.stop()
    uuid = stage.stable["pulled"]
    path = f"/api/v1/service/{uuid}/redeploy/"
    answer = stage.api.post(path)
    if answer.status != 202:
        raise Broken(f"F34: {path} said {answer.status}: {answer.text}")
    action = answer.headers["x-tutum-action-uri"]

    def ended() -> bool:
        state = str(stage.api.get(action).json["state"])
        if state == "Success":
            raise Broken("F34: a redeployment succeeded while its registry was away")
        return state == "Failed"

    def meanwhile() -> None:
        wait_for(ended, timeout=65 * stage.calibration.factor(), what="F34: the redeployment to fail", every=0.1)

    return Wound(where="asked for a redeployment", meanwhile=meanwhile, heal=stage.registry.start)


FAULTS = (
    Fault(name="docker stop", number="F20", bound=10, inject=_by_hand(_stop)),
    Fault(name="docker kill", number="F20", bound=10, inject=_by_hand(_kill)),
    Fault(name="docker rm -f", number="F20", bound=10, inject=_by_hand(_remove)),
    Fault(name="docker restart", number="F20", bound=10, inject=_by_hand(_restart)),
    Fault(name="docker rename", number="F20", bound=10, inject=_rename, stays=(0.5, 2.0)),
    Fault(name="docker pause", number="F20", bound=10, inject=_pause, stays=(0.5, 4.0)),
    Fault(name="docker update, kill", number="F20", bound=10, inject=_policy),
    # The pauses between tries double: what stays for 4 s is tried again 4 s later (domain/restarts.py).
    Fault(name="port taken", number="F21", bound=10, inject=_taken(_port), stays=(0.5, 4.0)),
    Fault(name="name taken", number="F21", bound=10, inject=_taken(_name), stays=(0.5, 4.0)),
    Fault(name="image untagged", number="F36", bound=10, inject=_untag),
    Fault(name="registry away", number="F34", bound=10, inject=_registry_away),
)
