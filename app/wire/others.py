"""Containers, actions and nodes as the API shows them (spec 4.1, 4.2, 4.5)."""

from __future__ import annotations

import shlex
from typing import Any

from app.wire.scalars import date, image_tag_uri, port_name, uri
from domain.action import Action
from domain.container import BoundPort, Container, Seen, container_state
from domain.links import block, mangle, source_of
from domain.node import Node
from domain.service import Service
from domain.spec import digest

_EXITS = {
    0: "Success",
    1: "General error",
    126: "Not executable",
    127: "Not found",
    137: "Killed",
    143: "Ended by SIGTERM",
}


def container_out(container: Container, service: Service, *, public_domain: str) -> dict[str, Any]:
    """The whole representation of a container; policies and roles are the service's present ones."""
    spec, seen = container.spec, container.seen
    ended = seen is not None and seen.state in {Seen.EXITED, Seen.RESTARTING, Seen.FAILED}
    code = seen.exit_code if seen and ended else None
    own = source_of(container)
    prefix = mangle(service.unique_name)
    shown = dict(spec.link_env) | dict(spec.user_env)
    return {
        "uuid": str(container.id),
        "resource_uri": uri("container", container.id),
        "name": container.name,
        "unique_name": container.name,
        "state": container_state(container).value,
        "service": uri("service", container.service_id),
        "node": uri("node", container.node_id),
        "image_name": spec.image,
        "image_tag": image_tag_uri(spec.image),
        "container_ports": [_port_out(port) for port in spec.ports],
        "container_envvars": [{"key": key, "value": shown[key]} for key in sorted(shown)],
        "link_variables": block(f"{prefix}_{container.slot}", own) | block(prefix, own),
        "linked_to_container": [],
        "entrypoint": shlex.join(spec.entrypoint) if spec.entrypoint else "",
        "run_command": shlex.join(spec.command) if spec.command else "",
        "cpu_shares": spec.cpu_shares,
        "memory": spec.memory,
        "memory_swap": spec.memory_swap,
        "autorestart": container.autorestart.value,
        "autoreplace": service.spec.autoreplace.value,
        "autodestroy": service.spec.autodestroy.value,
        "roles": list(service.spec.roles),
        "privileged": spec.privileged,
        "exit_code": code,
        "exit_code_msg": None if code is None else f"Exit code {code} ({_EXITS.get(code, 'Error')})",
        "message": seen.message if seen else None,
        "deployed_datetime": date(seen.created_at if seen and seen.created_at else container.created_at),
        "started_datetime": date(seen.started_at if seen else None),
        "stopped_datetime": date(seen.finished_at if seen and ended else None),
        "destroyed_datetime": date(container.terminated_at),
        "public_dns": f"{container.name}.{service.account}.cont.{public_domain}" if public_domain else "",
        "private_ip": (seen.ip if seen else None) or "",
        "bindings": [],
        "last_metric": None,
        "synchronized": container.made_from == digest(service.spec),
    }


def _port_out(port: BoundPort) -> dict[str, Any]:
    published = port.outer_port is not None
    return {
        "protocol": port.protocol.value,
        "inner_port": port.inner_port,
        "outer_port": port.outer_port,
        "port_name": port_name(port.inner_port),
        "published": published,
        "endpoint_uri": None,
        "uri_protocol": port_name(port.inner_port) if published else None,
    }


def action_out(action: Action) -> dict[str, Any]:
    """The whole representation of an action. `message` says why it failed."""
    return {
        "uuid": str(action.id),
        "resource_uri": uri("action", action.id),
        "action": action.verb,
        "object": action.object_uri,
        "state": action.state.value,
        "message": action.message or "",
        "method": action.request.method,
        "path": action.request.path,
        "body": action.request.body,
        "ip": action.request.ip,
        "location": action.request.location,
        "user_agent": action.request.user_agent,
        "is_user_action": action.request.is_user_action,
        "start_date": date(action.start_date),
        "end_date": date(action.end_date),
        "can_be_canceled": False,
        "can_be_retried": False,
    }


def node_out(node: Node, *, containers: int) -> dict[str, Any]:
    """A node as a client needs it to show its containers (spec 4.1 quirk, 4.5)."""
    engine = node.engine
    return {
        "uuid": str(node.id),
        "resource_uri": uri("node", node.id),
        "state": node.state.value,
        "nickname": node.name,
        "external_fqdn": node.name,
        "public_ip": "",
        "private_ips": [],
        "tags": [{"name": name} for name in node.tags],
        "cpu": engine.cpus if engine else 0,
        "memory": engine.memory if engine else 0,
        "disk": 0,
        "docker_version": engine.version if engine else "",
        "docker_graphdriver": engine.storage_driver if engine else "",
        "docker_execdriver": "",
        "current_num_containers": containers,
        "last_metric": None,
        "last_seen": date(node.last_seen),
        "deployed_datetime": date(node.created_at),
        "destroyed_datetime": None,
        "node_cluster": None,
        "region": None,
        "node_type": None,
        "availability_zone": None,
        "tunnel": None,
    }
