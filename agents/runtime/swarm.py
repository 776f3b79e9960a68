"""What the Docker SDK knows of swarm mode, in our words. Blocking; called in the runtime's threads.

Engine 20.10: a worker does not know its swarm's identity, so a manager's label tells whose it is; `/info` answers
without a quorum, `/nodes` does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never
from uuid import UUID

from docker import APIClient
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from agents.runtime import create_args
from agents.swarm_plan import Begin, Drop, Join, Leave, Make, Recover, Remove, SetRole, SwarmStep
from domain.container import NetworkSpec
from domain.swarm import Peer, SwarmReport, SwarmSeen

LISTEN = "0.0.0.0:2377"
SUBNET_BITS = 24


def look(api: APIClient, cluster_id: UUID) -> SwarmReport:
    """The engine's swarm mode, and the token for workers where it manages our swarm."""
    found = api.info().get("Swarm") or {}
    state, node = str(found.get("LocalNodeState") or "inactive"), str(found.get("NodeID") or "")
    seen = SwarmSeen(
        active=state == "active",
        # Without an identity for the moment, while the engine's role changes.
        inside=state != "inactive",
        node=node,
        manager=bool(found.get("ControlAvailable")),
        cluster=str((found.get("Cluster") or {}).get("ID") or ""),
        ours=_label((found.get("Cluster") or {}).get("Spec")) == str(cluster_id),
    )
    if not (seen.manager and seen.ours):
        return SwarmReport(seen=seen)
    try:
        listed = api.nodes()
        token = str((api.inspect_swarm().get("JoinTokens") or {}).get("Worker") or "")
    except APIError:
        return SwarmReport(seen=seen)
    peers = tuple(
        Peer(
            node=str(each["ID"]),
            manager=(each.get("Spec") or {}).get("Role") == "manager",
            up=(each.get("Status") or {}).get("State") != "down",
            ready=(each.get("ManagerStatus") or {}).get("Reachability") == "reachable",
        )
        for each in sorted(listed, key=lambda each: str(each["ID"]))
    )
    return SwarmReport(seen=replace(seen, quorum=True, peers=peers), token=token)


def perform(api: APIClient, cluster_id: UUID, step: SwarmStep) -> None:
    """Do it. Raises what the SDK raises."""
    client: Any = api
    match step:
        case Begin():
            client.init_swarm(
                advertise_addr=step.address,
                listen_addr=LISTEN,
                default_addr_pool=[step.pool],
                subnet_size=SUBNET_BITS,
                swarm_spec=client.create_swarm_spec(labels={create_args.CLUSTER: str(cluster_id)}),
            )
        case Join():
            client.join_swarm(list(step.managers), step.token, listen_addr=LISTEN, advertise_addr=step.address)
        case Leave():
            client.leave_swarm(force=True)
        case Recover():
            label = {create_args.CLUSTER: str(cluster_id)}
            client.init_swarm(
                advertise_addr=step.address,
                listen_addr=LISTEN,
                force_new_cluster=True,
                swarm_spec=client.create_swarm_spec(labels=label),
            )
        case SetRole():
            _set_role(client, step.node, "manager" if step.manager else "worker")
        case Drop():
            _drop(client, step.node)
        case Make():
            make_overlay(api, cluster_id, step.network)
        case Remove():
            for each in client.networks(names=[step.name]):
                if each["Name"] == step.name and _label(each) == str(cluster_id):
                    client.remove_network(each["Id"])
        case _:
            assert_never(step)


def _set_role(client: Any, node: str, role: str) -> None:
    found = client.inspect_node(node)
    client.update_node(node, found["Version"]["Index"], {**found["Spec"], "Role": role})


def _drop(client: Any, node: str) -> None:
    """A manager that votes has to lose its vote first; one that never came to vote cannot lose it."""
    try:
        client.remove_node(node, force=True)
    except APIError as error:
        if "must be demoted" not in str(error.explanation or error):
            raise
        _set_role(client, node, "worker")


def make_overlay(api: APIClient, cluster_id: UUID, network: NetworkSpec) -> str:
    """The overlay network, made unless it is there; by its name where another engine has to make it.

    Only managers make them, and on a worker it shows once a container is on it: by name it can be joined before.
    """

    def make(ipam: IPAMConfig | None) -> str:
        made = api.create_network(
            network.name,
            driver="overlay",
            ipam=ipam,
            check_duplicate=True,
            attachable=True,
            scope="swarm",
            labels=create_args.network_labels(cluster_id, network),
        )
        return str(made["Id"])

    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet)]) if network.subnet else None
    return _made(make, pool, network.name)


def _made(make: Callable[[IPAMConfig | None], str], pool: IPAMConfig | None, name: str) -> str:
    try:
        return make(pool)
    except APIError as error:
        text = str(error.explanation or error)
        if "already exists" in text or "from a worker node" in text:
            return name
        if pool is not None and "overlaps" in text:
            return _made(make, None, name)
        raise


def _label(holder: Any) -> str:
    return str(((holder or {}).get("Labels") or {}).get(create_args.CLUSTER) or "")
