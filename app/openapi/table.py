"""A row for each operation: what it takes and what it answers. A test compares it with the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.openapi.schemas import Schema
from app.wire import lists
from app.wire.lists import Field

FLAG: Schema = {"type": "string", "enum": ["true", "false", "True", "False", "1", "0", "yes", "no"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`answer` is the name of a schema, None for an answer without a body; `also` are other codes that mean done.

    `open`: without credentials. `no_action`: it changes nothing that is recorded. `names_another`: its body names
    an object that may not be there. `versioned`: its answer has an `ETag`; what changes it takes `If-Match`.
    """

    answer: str | None
    code: int = 200
    also: tuple[int, ...] = ()
    listed: bool = False
    filters: Mapping[str, Field] = field(default_factory=dict)
    body: str | None = None
    body_required: bool = False
    query: tuple[tuple[str, Schema], ...] = ()
    open: bool = False
    no_action: bool = False
    names_another: bool = False
    versioned: bool = False

    def errors(self, method: str, path: str) -> set[str]:
        """The codes of its refusals."""
        codes = {"400", "429", "503"}
        if not self.open:
            codes |= {"401", "403"}
        if "{" in path or self.names_another:
            codes.add("404")
        if self.answer == "Logs":
            codes.add("409")  # the node that has them is away
        if method != "GET":
            codes |= {"408", "409", "412", "413", "415", "422"}
        return codes

    def conditional(self, method: str, path: str) -> bool:
        """Whether it can be asked for of one version only (`app.api.versions`)."""
        return self.versioned and method != "GET" and "{" in path


def _page(name: str, filters: Mapping[str, Field]) -> Operation:
    return Operation(answer=name, listed=True, filters=filters)


def _refused(code: int) -> Operation:
    """Never done here; the answer says why."""
    return Operation(answer=None, code=code, no_action=True)


REUSE = (("reuse_volumes", FLAG),)
TAIL: tuple[tuple[str, Schema], ...] = (("tail", {"type": "integer", "minimum": 1}),)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/api/v1/service/"): _page("Service", lists.SERVICES),
    ("POST", "/api/v1/service/"): Operation(
        answer="Service", versioned=True, code=201, body="ServiceCreate", body_required=True
    ),
    ("GET", "/api/v1/service/{uuid}/"): Operation(answer="Service", versioned=True),
    ("PATCH", "/api/v1/service/{uuid}/"): Operation(answer="Service", versioned=True, also=(202,), body="ServicePatch"),
    ("DELETE", "/api/v1/service/{uuid}/"): Operation(answer="Service", versioned=True, code=202),
    ("GET", "/api/v1/service/{uuid}/explain/"): Operation(answer="Explanation"),
    ("GET", "/api/v1/service/{uuid}/logs/"): Operation(answer="Logs", query=TAIL),
    **{
        ("POST", f"/api/v1/service/{{uuid}}/{verb}/"): Operation(answer="Service", versioned=True, code=202)
        for verb in ("start", "stop", "scale")
    },
    ("POST", "/api/v1/service/{uuid}/redeploy/"): Operation(
        answer="Service", versioned=True, code=202, body="ServiceRedeploy", query=REUSE
    ),
    ("GET", "/api/v1/stack/"): _page("Stack", lists.STACKS),
    ("POST", "/api/v1/stack/"): Operation(
        answer="Stack", versioned=True, code=201, body="StackCreate", body_required=True
    ),
    ("GET", "/api/v1/stack/{uuid}/"): Operation(answer="Stack", versioned=True),
    ("GET", "/api/v1/stack/{uuid}/export/"): Operation(answer="StackFile", versioned=True),
    ("PATCH", "/api/v1/stack/{uuid}/"): Operation(
        answer="Stack", versioned=True, also=(202,), body="StackPatch", body_required=True
    ),
    ("DELETE", "/api/v1/stack/{uuid}/"): Operation(answer="Stack", versioned=True, code=202),
    **{
        ("POST", f"/api/v1/stack/{{uuid}}/{verb}/"): Operation(
            answer="Stack", versioned=True, code=202, query=REUSE if verb == "redeploy" else ()
        )
        for verb in ("start", "stop", "redeploy")
    },
    ("GET", "/api/v1/container/"): _page("Container", lists.CONTAINERS),
    ("GET", "/api/v1/container/{uuid}/"): Operation(answer="Container"),
    ("GET", "/api/v1/container/{uuid}/logs/"): Operation(answer="Logs", query=TAIL),
    **{
        ("POST", f"/api/v1/container/{{uuid}}/{verb}/"): Operation(answer="Container", code=202)
        for verb in ("start", "stop")
    },
    ("POST", "/api/v1/container/{uuid}/redeploy/"): Operation(answer="Container", code=202, query=REUSE),
    ("DELETE", "/api/v1/container/{uuid}/"): Operation(answer="Container", code=202),
    ("GET", "/api/v1/action/"): _page("Action", lists.ACTIONS),
    ("GET", "/api/v1/action/{uuid}/"): Operation(answer="Action"),
    **{
        ("POST", f"/api/v1/action/{{uuid}}/{verb}/"): Operation(answer="Action", code=202)
        for verb in ("cancel", "retry")
    },
    **{
        ("POST", f"/api/v1/service/{{uuid}}/trigger/{{trigger}}/call/{more}"): Operation(
            answer="Trigger", code=202, open=True
        )
        for more in ("", "{count}/")
    },
    ("GET", "/api/v1/auth/"): _page("Login", {}),
    ("GET", "/api/v1/node/"): _page("Node", lists.NODES),
    ("GET", "/api/v1/node/{uuid}/"): Operation(answer="Node"),
    ("PATCH", "/api/v1/node/{uuid}/"): Operation(answer="Node", body="NodePatch"),
    ("DELETE", "/api/v1/node/{uuid}/"): Operation(answer="Node", code=202, query=(("force", FLAG),)),
    ("PATCH", "/api/v1/admin/node/{uuid}/"): Operation(answer="Node", body="AdminNodePatch"),
    **{
        ("POST", f"/api/v1/admin/node/{{uuid}}/{verb}/"): Operation(answer="Node", code=202)
        for verb in ("cordon", "uncordon", "drain", "release", "keep", "accept-engine")
    },
    ("POST", "/api/v1/node/{uuid}/health-check/"): Operation(answer="Node", code=202),
    ("POST", "/api/v1/node/{uuid}/deploy/"): _refused(409),
    ("POST", "/api/v1/node/{uuid}/docker-upgrade/"): _refused(400),
    ("GET", "/api/v1/tag/"): _page("Tag", lists.TAGS),
    **{
        (method, f"/api/v1/{kind}/{{uuid}}/tags/{more}"): row
        for kind in ("service", "node")
        for method, more, row in (
            ("GET", "", _page("Tag", {"name": lists.TAGS["name"]})),
            ("POST", "", Operation(answer="Tag", code=201, listed=True, body="TagsAdd", body_required=True)),
            ("DELETE", "{name}/", Operation(answer=None, code=204)),
        )
    },
    **{
        (method, f"/api/v1/service/{{uuid}}/{kind}/{more}"): row
        for kind in ("trigger", "webhook/handler")
        for method, more, row in (
            ("GET", "", _page("Trigger", lists.TRIGGERS)),
            ("POST", "", Operation(answer="TriggersMade", code=201, body="TriggerCreate")),
            ("GET", "{trigger}/", Operation(answer="Trigger")),
            ("DELETE", "{trigger}/", Operation(answer="Trigger")),
        )
    },
    ("GET", "/api/v1/auth/account/"): Operation(answer="Me"),
    **{
        (method, f"{at}{more}"): row
        for at in ("/api/v1/auth/key/", "/api/v1/admin/user/{uuid}/key/")
        for method, more, row in (
            ("GET", "", _page("ApiKey", lists.KEYS)),
            ("POST", "", Operation(answer="ApiKeyMade", code=201, body="KeyCreate", body_required=True)),
            ("DELETE", "{key}/", Operation(answer=None, code=204)),
        )
    },
    ("GET", "/api/v1/admin/user/"): _page("UserAccount", lists.USERS),
    ("POST", "/api/v1/admin/user/"): Operation(answer="UserAccount", code=201, body="UserCreate", body_required=True),
    ("GET", "/api/v1/admin/user/{uuid}/"): Operation(answer="UserAccount"),
    ("PATCH", "/api/v1/admin/user/{uuid}/"): Operation(answer="UserAccount", body="UserPatch"),
    ("DELETE", "/api/v1/admin/user/{uuid}/"): Operation(answer=None, code=204),
    ("GET", "/api/v1/admin/audit/"): _page("AuditRow", lists.AUDIT),
    ("GET", "/api/v1/admin/health/"): Operation(answer="Health"),
    ("GET", "/api/v1/admin/queue/"): _page("Waiting", lists.QUEUE),
    ("GET", "/api/v1/admin/reconciler/"): Operation(answer="Reconciler"),
    **{
        ("POST", f"/api/v1/admin/{what}/{verb}/"): Operation(answer=answer, code=202)
        for what, answer in (("reconciler", "Reconciler"), ("service/{uuid}", "Waiting"), ("node/{uuid}", "Node"))
        for verb in ("pause", "resume", "look")
    },
    ("POST", "/api/v1/auth/password/"): Operation(
        answer="User", body="PasswordSet", names_another=True, body_required=True
    ),
    ("GET", "/api/v1/image/"): _page("Image", lists.IMAGES),
    ("POST", "/api/v1/image/"): Operation(answer="Image", code=201, body="ImageCreate", body_required=True),
    ("GET", "/api/v1/image/{name}/"): Operation(answer="Image"),
    ("PATCH", "/api/v1/image/{name}/"): Operation(answer="Image", body="ImagePatch"),
    ("DELETE", "/api/v1/image/{name}/"): Operation(answer=None, code=204),
    ("GET", "/api/v1/image/{name}/tag/{tag}/"): Operation(answer="ImageTag"),
    ("POST", "/api/v1/image/{name}/tag/{tag}/build/"): _refused(400),
    **{
        (method, f"/api/v1/image/{{name}}/buildsetting/{more}"): _refused(400)
        for method in ("GET", "POST")
        for more in ("", "{setting}/")
    },
    ("GET", "/api/v1/volume/"): _page("Volume", lists.VOLUMES),
    ("GET", "/api/v1/volume/{uuid}/"): Operation(answer="Volume"),
    ("GET", "/api/v1/volumegroup/"): _page("VolumeGroup", lists.VOLUME_GROUPS),
    ("GET", "/api/v1/volumegroup/{uuid}/"): Operation(answer="VolumeGroup"),
    ("GET", "/api/v1/registry/"): _page("Registry", lists.REGISTRIES),
    ("GET", "/api/v1/registry/{host}/"): Operation(answer="Registry"),
    **{
        ("GET", f"/api/v1/{kind}/{more}"): row
        for kind in ("provider", "region", "nodetype", "az", "nodecluster", "repository")
        for more, row in (("", _page("Nothing", lists.CLOUD)), ("{name}/", Operation(answer="Nothing", code=404)))
    },
    ("POST", "/api/v1/nodecluster/"): _refused(400),
    ("POST", "/api/v1/token/"): Operation(answer="JoinToken", code=201, body="TokenCreate"),
}
