"""What a user may make an engine do: one corpus over every way in, and on the host once more (S12 to S15, S17)."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies

from agents.runtime import permitted
from agents.runtime.base import RuntimeRefused
from agents.runtime.create_args import create_body
from app.settings import Settings
from domain.access import Role
from domain.container import ContainerSpec, Mount
from domain.policy import NEVER, Allowance, HostAccess, HostRules, host_paths, powers, refused, refused_path
from domain.spec import Binding, ServiceSpec
from tests.admin.conftest import Office
from tests.agents.build import CLUSTER, assigned, spec
from tests.api.client import API
from tests.security.conftest import fresh

POWERS: list[dict[str, Any]] = [
    {"privileged": True},
    {"privileged": "true"},
    {"net": "host"},
    {"pid": "host"},
    {"cap_add": ["SYS_ADMIN"]},
    {"cap_add": ["cap_sys_admin"]},
    {"cap_add": ["ALL"]},
    {"devices": ["/dev/sda:/dev/sda:rwm"]},
    {"security_opt": ["seccomp=unconfined"]},
    {"security_opt": ["apparmor=unconfined"]},
    {"cgroup_parent": "/"},
]
MOUNTS = ["/srv/data", "/home/eve"]
FORBIDDEN = [
    *NEVER, "/var", "/var/lib", "/run", "/etc/passwd", "/etc//shadow", "/./etc", "/proc/1/root", "/sys/fs/cgroup",
    "/var/lib/docker/volumes", "//etc", "/etc/",
]  # fmt: skip
HARMLESS: list[dict[str, Any]] = [
    {"cap_add": ["NET_RAW", "CAP_CHOWN"]},
    {"cap_drop": ["ALL"]},
    {"security_opt": ["no-new-privileges:false"]},
    {"bindings": [{"container_path": "/data"}]},
    {"net": "bridge", "pid": "none", "privileged": "false"},
]


def bound(path: str) -> dict[str, Any]:
    return {"bindings": [{"host_path": path, "container_path": "/in"}]}


def field_of(body: dict[str, Any]) -> str:
    return "bindings[0].host_path" if "bindings" in body else next(iter(body))


async def refused_everywhere(office: Office, who: dict[str, str], body: dict[str, Any]) -> None:
    """By every way in that takes a definition: 400, with the attribute and what to do, and nothing is stored."""
    field, plain = field_of(body), {"image": "a", "name": "plain"}
    made = (await office.call("POST", f"{API}/service/", headers=who, json=plain)).json()
    stack = {"name": fresh("s"), "services": [{**plain, "name": "x"}]}
    stacked = (await office.call("POST", f"{API}/stack/", headers=who, json=stack)).json()
    bad = {**plain, "name": "bad", **body}
    before = await office.count()
    for method, path, sent, named in (
        ("POST", f"{API}/service/", bad, field),
        ("PATCH", made["resource_uri"], body, field),
        ("POST", f"{API}/stack/", {"name": "t", "services": [plain, bad]}, f"services[1].{field}"),
        ("PATCH", stacked["resource_uri"], {"services": [{**plain, "name": "x", **body}]}, f"services[0].{field}"),
        ("PATCH", stacked["resource_uri"], {"services": [{**plain, "name": "y", **body}]}, f"services[0].{field}"),
    ):
        answer = await office.call(method, path, headers=who, json=sent)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [named]), (method, path, answer.text)
    assert await office.count() == before


async def test_a_member_defines_nothing_that_reaches_into_a_host(office: Office) -> None:
    eve = await office.hire(fresh("eve"))
    for body in (*POWERS, *(bound(path) for path in MOUNTS)):
        await refused_everywhere(office, eve, body)


@pytest.mark.parametrize("body", [POWERS[0], bound(MOUNTS[0])], ids=str)
async def test_an_admin_may_and_a_member_where_the_operator_says_so(office: Office, body: dict[str, Any]) -> None:
    eve = await office.hire(fresh("eve"))
    assert (await office.call("POST", f"{API}/service/", json={"image": "a", **body})).status_code == 201
    office.app.state.settings = Settings(host_access=HostAccess.EVERYONE)
    assert (await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", **body})).status_code == 201
    office.app.state.settings = Settings(host_access=HostAccess.NOBODY)
    assert (await office.call("POST", f"{API}/service/", json={"image": "a", **body})).status_code == 400


async def test_some_paths_are_nobodys(office: Office) -> None:
    office.app.state.settings = Settings(host_access=HostAccess.EVERYONE, bind_paths="/srv,/etc")
    for path in FORBIDDEN:
        answer = await office.call("POST", f"{API}/service/", json={"image": "a", **bound(path)})
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["bindings[0].host_path"]), path


async def test_what_tutela_keeps_on_the_host_is_nobodys(office: Office) -> None:
    settings = Settings(state_dir=Path("/srv/tutela"), docker_host="unix:///srv/engine/docker.sock")
    office.app.state.settings = settings
    for path in ("/srv/tutela/agent", "/srv", "/srv/engine", "/srv/engine/docker.sock"):
        answer = await office.call("POST", f"{API}/service/", json={"image": "a", **bound(path)})
        assert answer.status_code == 400, path
    assert (await office.call("POST", f"{API}/service/", json={"image": "a", **bound("/srv/web")})).status_code == 201


async def test_what_stays_inside_is_everyones(office: Office) -> None:
    eve = await office.hire(fresh("eve"))
    for body in HARMLESS:
        answer = await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", **body})
        assert answer.status_code == 201, answer.text


async def test_paths_may_be_opened_to_everyone(office: Office) -> None:
    office.app.state.settings = Settings(bind_paths="/srv/data,/mnt/pool/")
    eve = await office.hire(fresh("eve"))
    for path, code in (("/srv/data", 201), ("/srv/data/a", 201), ("/mnt/pool", 201), ("/srv/database", 400),
                       ("/srv", 400), ("/mnt", 400)):  # fmt: skip
        answer = await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", **bound(path)})
        assert answer.status_code == code, path


async def test_a_lesser_key_and_a_container_get_no_more_than_they_are(office: Office) -> None:
    """They redeploy what the owner has defined, and neither define nor change it."""
    strong = await office.create(name="strong", privileged=True)
    admin = await office.user_named("admin")
    key = (await office.key_of(admin["uuid"], scope="member"))["key"]
    for who in ({"Authorization": f"ApiKey admin:{key}"}, await office.container_header()):
        await refused_everywhere(office, who, {"privileged": True})
        answer = await office.call("PATCH", strong["resource_uri"], headers=who, json={"image": "mine"})
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["privileged"])
        scaled = {"target_num_containers": 1}
        assert (await office.call("PATCH", strong["resource_uri"], headers=who, json=scaled)).status_code == 200
        await office.call("POST", f"{strong['resource_uri']}start/", headers=who)
        shown = (await office.call("GET", strong["resource_uri"])).json()
        assert shown["state"] == "Starting"


async def test_a_lesser_key_redeploys_what_the_owner_defined_and_no_other_tag(office: Office) -> None:
    strong = await office.create(name="strong", privileged=True)
    await office.container(strong["uuid"], await office.node())
    key = (await office.key_of((await office.user_named("admin"))["uuid"], scope="member"))["key"]
    who, redeploy = {"Authorization": f"ApiKey admin:{key}"}, f"{strong['resource_uri']}redeploy/"
    answer = await office.call("POST", redeploy, headers=who, json={"tag": "mine"})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["privileged"])
    assert (await office.call("GET", strong["resource_uri"])).json()["image_name"] == strong["image_name"]
    assert (await office.call("POST", redeploy, headers=who, json={"tag": "latest"})).status_code == 202


async def test_volumes_of_others_lend_no_path(office: Office) -> None:
    """Neither at one remove nor at two: `volumes_from` is followed to its end, also round in a circle."""
    disk = await office.create(name="disk", **bound("/srv/data"))
    second = await office.create(name="second", bindings=[{"volumes_from": disk["resource_uri"]}])
    circle = {"bindings": [{"volumes_from": second["resource_uri"]}, {"host_path": "/srv/x", "container_path": "/x"}]}
    assert (await office.call("PATCH", disk["resource_uri"], json=circle)).status_code == 200
    key = (await office.key_of((await office.user_named("admin"))["uuid"], scope="member"))["key"]
    who = {"Authorization": f"ApiKey admin:{key}"}
    for origin in (disk, second):
        body = {"image": "a", "bindings": [{"volumes_from": origin["resource_uri"]}]}
        answer = await office.call("POST", f"{API}/service/", headers=who, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["bindings[0].volumes_from"])
        stack = {"name": fresh("s"), "services": [{"name": "x", "image": "a", "volumes_from": [origin["unique_name"]]}]}
        assert (await office.call("POST", f"{API}/stack/", headers=who, json=stack)).status_code == 400


async def test_who_is_no_admin_any_more_deploys_it_no_more(office: Office) -> None:
    """By start, redeploy, scale, a trigger, a stack, a container or an action that is done again."""
    name = fresh("dan")
    dan = await office.hire(name, "admin")
    strong = (await office.call("POST", f"{API}/service/", headers=dan,
                                json={"image": "a", "name": "strong", "privileged": True})).json()  # fmt: skip
    stack = {"name": "s", "services": [{"name": "x", "image": "a", "pid": "host"}]}
    stacked = (await office.call("POST", f"{API}/stack/", headers=dan, json=stack)).json()
    uri = strong["resource_uri"]
    trigger = (await office.call("POST", f"{uri}trigger/", headers=dan, json={})).json()
    container = await office.container(strong["uuid"], await office.node())
    assert (await office.change(name, role="member")).status_code == 200
    for path in (f"{uri}start/", f"{uri}redeploy/", f"{uri}scale/", trigger["url"], f"{stacked['resource_uri']}start/",
                 f"{API}/container/{container}/redeploy/"):  # fmt: skip
        answer = await office.call("POST", path, headers=dan)
        assert (answer.status_code, "may not be deployed" in answer.json()["error"]) == (409, True), (path, answer.text)
    more = {"services": [{"name": "x", "target_num_containers": 9}]}
    for path, body in ((uri, {"target_num_containers": 9}), (stacked["resource_uri"], more)):
        answer = await office.call("PATCH", path, headers=dan, json=body)
        assert answer.status_code in {400, 409}, (path, answer.text)
        assert "may not be deployed" in answer.text
    failed = (await office.call("GET", f"{API}/action/?state=Failed&object={uri}", headers=dan)).json()["objects"]
    started = next(each for each in failed if each["action"] == "Service Start")
    again = await office.call("POST", f"{started['resource_uri']}retry/", headers=dan)
    assert (again.status_code, "may not be deployed" in again.json()["error"]) == (409, True), again.text
    # What takes it away is always possible.
    assert (await office.call("DELETE", uri, headers=dan)).status_code == 202


def container(**more: Any) -> ContainerSpec:
    return replace(spec(), **more)


HOSTILE_ASSIGNMENTS: list[tuple[dict[str, Any], str]] = [
    ({"privileged": True}, "privileged"),
    ({"host_network": True}, "net"),
    ({"host_pid": True}, "pid"),
    ({"cap_add": ("SYS_ADMIN",)}, "cap_add"),
    ({"devices": ("/dev/sda",)}, "devices"),
    ({"security_opt": ("seccomp=unconfined",)}, "security_opt"),
    ({"cgroup_parent": "/"}, "cgroup_parent"),
    ({"mounts": (Mount(source="/srv/x", target="/x"),)}, "/srv/x"),
]


@pytest.mark.parametrize(("more", "named"), HOSTILE_ASSIGNMENTS, ids=lambda value: str(value)[:40])
def test_a_host_refuses_what_it_does_not_lend(more: dict[str, Any], named: str) -> None:
    """Also when the control plane asks for it: the agent does not call its engine."""
    permitted.check(container(**more), HostRules().of_host)
    with pytest.raises(RuntimeRefused, match=named) as caught:
        permitted.check(container(**more), HostRules(access=HostAccess.NOBODY).of_host)
    assert caught.value.code == permitted.CODE


@pytest.mark.parametrize("path", [*FORBIDDEN, "/srv/../etc", "/a/./../../proc"])
def test_no_host_lends_these_paths(path: str) -> None:
    with pytest.raises(RuntimeRefused, match="no container may have"):
        permitted.check(container(mounts=(Mount(source=path, target="/x"),)), HostRules(paths=("/",)).of_host)


def test_links_are_followed_on_the_host(tmp_path: Path) -> None:
    shared, beside = tmp_path / "shared", tmp_path / "beside"
    shared.mkdir()
    beside.mkdir()
    (shared / "etc").symlink_to("/etc")
    (shared / "out").symlink_to(beside)
    (shared / "in").symlink_to(shared)
    lends = HostRules(paths=(os.path.realpath(shared),)).of_host
    for name, fits in (("etc", False), ("out", False), ("in", True), ("plain", True), ("etc/ssl", False)):
        mounted = container(mounts=(Mount(source=f"{os.path.realpath(shared)}/{name}", target="/x"),))
        if fits:
            permitted.check(mounted, lends)
        else:
            with pytest.raises(RuntimeRefused, match="does not lend"):
                permitted.check(mounted, lends)


PATHS = strategies.lists(strategies.sampled_from(["etc", "srv", "data", "..", ".", "", "root", "x"]), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)


@hypothesis.given(PATHS)
def test_no_spelling_leads_past_the_list(path: str) -> None:
    """What the kernel makes of a path decides, however it is written."""
    real = os.path.normpath(path).replace("//", "/")
    forbidden = any(real == each or real.startswith(f"{each}/") or each.startswith(real.rstrip("/") + "/")
                    for each in NEVER)  # fmt: skip
    assert (refused_path(path, Allowance(powers=True)) is not None) == forbidden
    below = real == "/srv/data" or real.startswith("/srv/data/")
    assert (refused_path(path, Allowance(paths=("/srv/data",))) is None) == below


def test_roles_and_rules() -> None:
    for access, may in ((HostAccess.NOBODY, []), (HostAccess.ADMINS, [Role.ADMIN]), (HostAccess.EVERYONE, [*Role])):
        assert [role for role in Role if HostRules(access=access).of(role).powers] == [r for r in Role if r in may]
    both = ServiceSpec(image="a", privileged=True, bindings=(Binding(container_path="/x", host_path="/srv"),))
    assert list(refused(both, Allowance())) == ["privileged", "bindings[0].host_path"]
    assert refused(both, Allowance(powers=True)) == {}
    managed = replace(both, bindings=(*both.bindings, Binding(container_path="/y")))
    assert host_paths(managed) == ("/srv",)


JUDGED = {
    "privileged", "net", "pid", "host_network", "host_pid", "cap_add", "devices", "security_opt", "cgroup_parent",
    "bindings", "mounts",
}  # fmt: skip
INSIDE = {
    "image", "image_id", "image_digest", "entrypoint", "run_command", "command", "env", "image_env", "link_env",
    "self_env", "user_env", "ports", "links", "autorestart", "autoreplace", "autodestroy", "sequential_deployment",
    "roles", "token", "tags", "cpu_shares", "memory", "memory_swap", "deployment_strategy", "autoredeploy", "nickname",
    "working_dir", "user", "tty", "stdin_open", "read_only", "hostname", "domainname", "mac_address", "cpuset", "dns",
    "dns_search", "cap_drop", "extra_hosts", "labels", "lost_after", "single_writer",
}  # fmt: skip


def test_a_new_attribute_is_judged_before_it_is_passed_on() -> None:
    """Whoever adds one says here whether it reaches into a host."""
    there = {each.name for each in (*fields(ServiceSpec), *fields(ContainerSpec))}
    assert there == JUDGED | INSIDE
    assert not JUDGED & INSIDE
    plain = ServiceSpec(image="a")
    assert powers(plain) == {}


CREATE_FIELDS = {
    "Image", "Hostname", "Env", "Labels", "ExposedPorts", "Tty", "OpenStdin", "HostConfig", "Entrypoint", "Cmd",
    "WorkingDir", "User", "Domainname", "MacAddress", "NetworkingConfig",
}  # fmt: skip
HOST_FIELDS = {
    "RestartPolicy", "PortBindings", "LogConfig", "PidsLimit", "Init", "Privileged", "ReadonlyRootfs", "SecurityOpt",
    "NetworkMode", "PidMode", "Memory", "MemorySwap", "CpuShares", "Dns", "DnsSearch", "CapAdd", "CapDrop",
    "ExtraHosts", "Devices", "CpusetCpus", "CgroupParent", "Mounts",
}  # fmt: skip


def everything() -> ContainerSpec:
    """Every attribute with a value other than its default."""
    values: dict[str, Any] = {}
    for each in fields(ContainerSpec):
        if each.default is False:
            values[each.name] = True
        elif each.default is None:
            values[each.name] = 5 if each.name in {"memory", "memory_swap", "cpu_shares"} else "x"
        elif each.default == () and each.name in {"dns", "dns_search", "cap_add", "cap_drop", "extra_hosts"}:
            values[each.name] = ("x",)
    mounts = (Mount(source="/srv/x", target="/x"), Mount(source="v", target="/y", volume=True))
    return container(**values | {"entrypoint": ("x",), "command": ("x",), "devices": ("/dev/a",), "mounts": mounts,
                                 "security_opt": ("a=b",)})  # fmt: skip


def test_the_engine_is_asked_for_nothing_but_this() -> None:
    """One builder from typed values; no driver options, no binds that make folders, nothing of a body as it came."""
    for made in (everything(), spec(), replace(everything(), host_network=False)):
        body = create_body(CLUSTER, replace(assigned(1), spec=made))
        assert set(body) <= CREATE_FIELDS
        assert set(body["HostConfig"]) <= HOST_FIELDS
    mounts = create_body(CLUSTER, replace(assigned(1), spec=everything()))["HostConfig"]["Mounts"]
    assert [set(each) for each in mounts] == [
        {"Type", "Source", "Target", "ReadOnly"},
        {"Type", "Source", "Target", "ReadOnly", "VolumeOptions"},
    ]
    assert set(mounts[1]["VolumeOptions"]) == {"Labels"}


def test_each_container_has_the_safe_defaults() -> None:
    host = create_body(CLUSTER, assigned(1))["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PidsLimit"] == 4096
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert host["Init"] is True
    assert host["Privileged"] is False
    assert not {"CapAdd", "Devices", "PidMode", "CgroupParent", "UsernsMode", "IpcMode", "Sysctls"} & set(host)


UNKNOWN: list[dict[str, Any]] = [
    {"bindings": [{"container_path": "/x", "driver_opts": {"type": "none", "o": "bind", "device": "/etc"}}]},
    {"volumes": [{"Type": "volume", "VolumeOptions": {"DriverConfig": {"Options": {"device": "/etc"}}}}]},
    {"HostConfig": {"Privileged": True, "Binds": ["/:/host"]}, "Privileged": True},
    {"volume_driver": "evil", "ipc": "host", "userns_mode": "host", "sysctls": {"kernel.shm": "1"}},
]


@pytest.mark.parametrize("body", UNKNOWN, ids=range(len(UNKNOWN)))
async def test_what_is_not_known_is_not_passed_on(office: Office, body: dict[str, Any]) -> None:
    """Nothing of a user's JSON reaches a definition but what was read (mass assignment, API3)."""
    eve = await office.hire(fresh("eve"))
    known = (await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", "name": "x"})).json()
    asked = {"image": "a", "name": "x", **body}
    made = (await office.call("POST", f"{API}/service/", headers=eve, json=asked)).json()
    async with office.db.read() as conn:
        one, two = [
            dict(await conn.fetchval("SELECT spec FROM services WHERE id = $1", UUID(each["uuid"])))
            for each in (known, made)
        ]
    if "bindings" in body:
        (binding,) = two.pop("bindings")
        assert binding == {"container_path": "/x", "host_path": None, "rewritable": True, "volumes_from": None}
        del one["bindings"]
    assert one == two
