"""The shapes of objects and of bodies, as JSON Schema (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from domain.action import ActionState
from domain.container import ContainerState
from domain.engine_notes import Code
from domain.networks import Form, NetworkMode
from domain.node import NodeState
from domain.placement import Refusal
from domain.quarantine import Cause
from domain.registry import ImageState
from domain.service import ServiceState
from domain.spec import CrashPolicy, Strategy
from domain.stack import StackState
from domain.volume import VolumeState
from orchestrator.planning.explain import Reason

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
URI: Schema = {"type": "string", "description": "A resource path, such as /api/v1/service/<uuid>/"}
UUID: Schema = {"type": "string", "format": "uuid"}
DATE: Schema = {
    "type": "string",
    "description": "%a, %d %b %Y %H:%M:%S +0000",
    "examples": ["Mon, 13 Oct 2014 11:01:43 +0000"],
}
VARIABLES: Schema = {"type": "object", "additionalProperties": TEXT}


def maybe(schema: Schema) -> Schema:
    """The value or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """A list of them."""
    return {"type": "array", "items": schema}


def ref(name: str) -> Schema:
    """A schema of the document by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def states(kind: Any) -> Schema:
    """The names of an enumeration."""
    return {"type": "string", "enum": [each.value for each in kind]}


def shown(**properties: Schema) -> Schema:
    """An object in an answer: every key is always there."""
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def asked(*required: str, **properties: Schema) -> Schema:
    """An object in a request."""
    return {"type": "object", "properties": properties, "required": sorted(required)}


def page_of(name: str) -> Schema:
    """The list envelope (spec 1.8)."""
    meta = shown(limit=WHOLE, offset=WHOLE, total_count=WHOLE, previous=maybe(TEXT), next=maybe(TEXT))
    return shown(meta=meta, objects=many(ref(name)))


_POLICIES: dict[str, Schema] = {name: states(CrashPolicy) for name in ("autorestart", "autoreplace", "autodestroy")}
_PORT: dict[str, Schema] = {
    "protocol": {"type": "string", "enum": ["tcp", "udp"]},
    "inner_port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "outer_port": maybe({"type": "integer", "minimum": 1, "maximum": 65535}),
    "published": FLAG,
}
_DOCKER_TEXTS = ("hostname", "domainname", "mac_address", "cpuset", "cgroup_parent", "working_dir", "user")
_DOCKER_LISTS = ("dns", "dns_search", "cap_add", "cap_drop", "devices", "extra_hosts", "security_opt")
_DOCKER: dict[str, Schema] = {
    "net": {"type": "string", "enum": ["bridge", "host"]},
    "pid": {"type": "string", "enum": ["none", "host"]},
    **{name: maybe(TEXT) for name in _DOCKER_TEXTS},
    **{name: many(TEXT) for name in _DOCKER_LISTS},
    **dict.fromkeys(("tty", "stdin_open", "read_only", "privileged"), FLAG),
    "labels": VARIABLES,
    "cpu_shares": maybe(WHOLE),
    "memory": maybe(WHOLE),
    "memory_swap": maybe(WHOLE),
}
_DATES = ("deployed_datetime", "started_datetime", "stopped_datetime", "destroyed_datetime")
IDENTITY: dict[str, Schema] = {"uuid": UUID, "resource_uri": URI}
PAUSE: Schema = maybe(shown(since=DATE, by=TEXT))
QUARANTINE: Schema = maybe(shown(cause=states(Cause), reason=TEXT, remedy=TEXT))
ENGINE_NOTES: Schema = maybe(many(shown(code=states(Code), says=TEXT, remedy=TEXT)))

OBJECTS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "properties": {"error": TEXT, "code": TEXT, "fields": VARIABLES},
        "required": ["error"],
        "examples": [{"error": "image: is required", "code": "invalid", "fields": {"image": "is required"}}],
    },
    "Port": shown(**_PORT, port_name=TEXT, endpoint_uri=maybe(TEXT), uri_protocol=maybe(TEXT)),
    "Variable": shown(key=TEXT, value=TEXT),
    "CalculatedVariable": shown(key=TEXT, value=TEXT, origin={"enum": ["user", "tutum", "link", "image"]}),
    "Link": shown(name=TEXT, from_service=URI, to_service=URI),
    "Tag": {"type": "object", "properties": {"name": TEXT, "origin": TEXT}, "required": ["name"]},
    "Binding": shown(host_path=maybe(TEXT), container_path=maybe(TEXT), rewritable=FLAG, volumes_from=maybe(URI)),
    "ContainerBinding": shown(volume=maybe(URI), host_path=maybe(TEXT), container_path=TEXT, rewritable=FLAG),
    "Service": shown(
        **IDENTITY,
        **_POLICIES,
        **_DOCKER,
        **{name: maybe(DATE) for name in _DATES},
        name=TEXT,
        unique_name=TEXT,
        nickname=TEXT,
        image_name=TEXT,
        image_tag=URI,
        state=states(ServiceState),
        synchronized=FLAG,
        target_num_containers=WHOLE,
        current_num_containers=WHOLE,
        running_num_containers=WHOLE,
        stopped_num_containers=WHOLE,
        containers=many(URI),
        container_ports=many(ref("Port")),
        container_envvars=many(ref("Variable")),
        calculated_envvars=many(ref("CalculatedVariable")),
        linked_to_service=many(ref("Link")),
        linked_from_service=many(ref("Link")),
        link_variables=VARIABLES,
        link_form=states(Form),
        entrypoint=maybe(TEXT),
        run_command=maybe(TEXT),
        sequential_deployment=FLAG,
        autoredeploy=FLAG,
        roles=many(TEXT),
        tags=many(ref("Tag")),
        actions=many(URI),
        deployment_strategy=states(Strategy),
        lost_after=maybe(WHOLE),
        single_writer=FLAG,
        paused=PAUSE,
        public_dns=TEXT,
        stack=maybe(URI),
        bindings=many(ref("Binding")),
    ),
    "Container": shown(
        **IDENTITY,
        **_POLICIES,
        **_DOCKER,
        **{name: maybe(DATE) for name in _DATES},
        name=TEXT,
        unique_name=TEXT,
        state=states(ContainerState),
        service=URI,
        node=URI,
        image_name=TEXT,
        image_tag=URI,
        container_ports=many(ref("Port")),
        container_envvars=many(ref("Variable")),
        link_variables=VARIABLES,
        linked_to_container=many(shown(name=TEXT, from_container=URI, to_container=URI, endpoints=VARIABLES)),
        entrypoint=TEXT,
        run_command=TEXT,
        roles=many(TEXT),
        exit_code=maybe(WHOLE),
        exit_code_msg=maybe(TEXT),
        message=maybe(TEXT),
        restart_count=WHOLE,
        public_dns=TEXT,
        private_ip=TEXT,
        bindings=many(ref("ContainerBinding")),
        last_metric={},
        stale=FLAG,
        last_seen=maybe(DATE),
        synchronized=FLAG,
        actions=many(URI),
    ),
    "Stack": shown(
        **IDENTITY,
        name=TEXT,
        nickname=TEXT,
        state=states(StackState),
        synchronized=FLAG,
        services=many(URI),
        deployed_datetime=maybe(DATE),
        destroyed_datetime=maybe(DATE),
    ),
    "StackFile": {"type": "object", "additionalProperties": {"type": "object"}},
    "Action": shown(
        **IDENTITY,
        action=TEXT,
        object=URI,
        state=states(ActionState),
        message=TEXT,
        method=TEXT,
        path=TEXT,
        body=TEXT,
        ip=TEXT,
        location=TEXT,
        user_agent=TEXT,
        is_user_action=FLAG,
        start_date=DATE,
        end_date=maybe(DATE),
        can_be_canceled=FLAG,
        can_be_retried=FLAG,
    ),
    "Node": shown(
        **IDENTITY,
        state=states(NodeState),
        name=TEXT,
        nickname=TEXT,
        external_fqdn=TEXT,
        public_ip=TEXT,
        private_ips=many({}),
        tags=many(ref("Tag")),
        cpu=WHOLE,
        memory=WHOLE,
        disk=WHOLE,
        docker_version=TEXT,
        docker_graphdriver=TEXT,
        docker_execdriver=TEXT,
        current_num_containers=WHOLE,
        cordoned=FLAG,
        draining=FLAG,
        paused=PAUSE,
        quarantine=QUARANTINE,
        network=states(Form),
        network_note=TEXT,
        engine_notes=ENGINE_NOTES,
        last_metric={},
        last_seen=maybe(DATE),
        deployed_datetime=maybe(DATE),
        destroyed_datetime=maybe(DATE),
        node_cluster=maybe(URI),
        region=maybe(URI),
        node_type=maybe(URI),
        availability_zone=maybe(URI),
        tunnel=maybe(TEXT),
    ),
    "Explanation": shown(
        service=URI,
        name=TEXT,
        state=states(ServiceState),
        target_num_containers=WHOLE,
        operation=maybe(TEXT),
        operation_since=maybe(DATE),
        actions=many(URI),
        waits_for=maybe(TEXT),
        look_at=maybe(DATE),
        paused=PAUSE,
        network=states(NetworkMode),
        slots=many(
            shown(
                slot=WHOLE,
                container=maybe(URI),
                node=maybe(TEXT),
                wanted=TEXT,
                seen=maybe(TEXT),
                leaving=FLAG,
                reason=states(Reason),
                text=TEXT,
                remedy=TEXT,
                since=maybe(DATE),
                last_seen=maybe(DATE),
                network=maybe(states(Form)),
                network_note=TEXT,
                links=many(shown(name=TEXT, slot=WHOLE, form=states(Form))),
                placement=many(shown(node=TEXT, taken=FLAG, reason=maybe(states(Refusal)), text=TEXT)),
            )
        ),
    ),
    "Logs": shown(logs=TEXT),
    "Trigger": shown(**IDENTITY, name=TEXT, operation={"enum": ["REDEPLOY", "SCALEUP"]}, url=TEXT),
    "Login": shown(username=TEXT, key=TEXT),
    "TriggersMade": {"anyOf": [ref("Trigger"), page_of("Trigger")]},
    "User": shown(username=TEXT),
    "JoinToken": shown(token=TEXT, uses={"type": "integer"}, expires_at=DATE, join_url=TEXT, command=TEXT),
    "Nothing": {"type": "object", "description": "There is none of it on this installation."},
    "Volume": shown(**IDENTITY, state=states(VolumeState), node=URI, volume_group=URI, containers=many(URI)),
    "VolumeGroup": shown(**IDENTITY, state=states(VolumeState), name=TEXT, services=many(URI), volumes=many(URI)),
    "Registry": shown(**IDENTITY, name=TEXT, host=TEXT, icon_url=TEXT, is_ssl=FLAG, is_tutum_registry=FLAG),
    "Image": shown(
        **dict.fromkeys(("name", "description", "public_url", "icon_url"), TEXT),
        **dict.fromkeys(("is_private_image", "jumpstart", "in_use"), FLAG),
        resource_uri=URI,
        registry=URI,
        categories=many(ref("Tag")),
        star_count=WHOLE,
        state=states(ImageState),
        last_build_date=maybe(DATE),
        tags=many(URI),
        build_source={"type": "null"},
    ),
    "ImageTag": shown(
        name=TEXT,
        full_name=TEXT,
        image=URI,
        resource_uri=URI,
        state=states(ImageState),
        buildable=FLAG,
        layer=maybe(ref("Layer")),
    ),
    "Layer": shown(
        **dict.fromkeys(("author", "docker_id", "entrypoint", "run_command"), TEXT),
        resource_uri=URI,
        creation=maybe(DATE),
        envvars=many(ref("Variable")),
        labels=many(ref("Variable")),
        ports=many(shown(port=WHOLE, protocol=TEXT)),
        volumes=many(shown(container_path=TEXT)),
    ),
}

_NUMBER_IN: Schema = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
TEXT_IN = maybe(TEXT)
_SERVICE_IN: dict[str, Schema] = {
    "target_num_containers": maybe({"type": "integer", "minimum": 0}),
    "run_command": TEXT_IN,
    "entrypoint": TEXT_IN,
    "container_ports": many(asked("protocol", "inner_port", **_PORT)),
    "container_envvars": many(asked("key", "value", key={"type": "string", "minLength": 1}, value=TEXT)),
    "linked_to_service": many(asked("to_service", to_service=TEXT, name=TEXT_IN)),
    **_POLICIES,
    "sequential_deployment": FLAG,
    "roles": many({"enum": ["global"]}),
    "tags": many(asked("name", name=TEXT)),
    "deployment_strategy": states(Strategy),
    "lost_after": maybe({"type": "integer", "minimum": 1, "maximum": 2_592_000}),
    "single_writer": FLAG,
    "autoredeploy": FLAG,
    "nickname": TEXT_IN,
    "bindings": many(asked(host_path=TEXT_IN, container_path=TEXT_IN, rewritable=FLAG, volumes_from=TEXT_IN)),
    **_DOCKER,
}
BODIES: dict[str, Schema] = {
    "ServiceCreate": {
        **asked("image", image=TEXT, name=TEXT, **_SERVICE_IN),
        "examples": [{"image": "tutum/hello-world", "name": "my-new-app", "target_num_containers": 2}],
    },
    "StackCreate": {
        **asked("name", name=TEXT, nickname=TEXT_IN, services=many({"type": "object"})),
        "examples": [
            {
                "name": "shop",
                "services": [
                    {"name": "web", "image": "tutum/hello-world", "links": ["db:mysql"], "ports": ["80:80"]},
                    {"name": "db", "image": "mysql:5.6", "environment": {"A": "1"}},
                ],
            }
        ],
    },
    "StackPatch": asked(nickname=TEXT_IN, services=many({"type": "object"})),
    "ServicePatch": {**asked(image=TEXT, **_SERVICE_IN), "examples": [{"target_num_containers": 3}]},
    "TagsAdd": {
        "anyOf": [many(ref("Tag")), asked("tags", tags=many(ref("Tag"))), ref("Tag")],
        "examples": [[{"name": "production"}]],
    },
    "AdminNodePatch": asked(name=TEXT_IN, public_ip=TEXT_IN),
    "NodePatch": asked(tags=many(ref("Tag")), nickname=TEXT_IN),
    "TriggerCreate": asked(name=TEXT_IN, operation={"enum": ["REDEPLOY", "SCALEUP"]}),
    "ImageCreate": {
        **asked("name", name=TEXT, username=TEXT_IN, password=TEXT_IN, description=TEXT_IN),
        "examples": [{"name": "registry.example.com/team/app", "username": "me", "password": "secret"}],
    },
    "ImagePatch": asked(username=TEXT_IN, password=TEXT_IN, description=TEXT_IN),
    "PasswordSet": asked("password", password={"type": "string", "minLength": 8}, username=TEXT_IN),
    "TokenCreate": asked(uses={"type": "integer", "minimum": 1}, expires_in={"type": "integer", "minimum": 60}),
    "ServiceRedeploy": {**asked(tag=TEXT_IN), "examples": [{"tag": "v2"}]},
}
