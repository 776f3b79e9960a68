"""What a definition asks of its host, and what those who may not ask for it are told."""

from __future__ import annotations

from typing import Any

import pytest

from domain.access import Role
from domain.container import ContainerSpec
from domain.policy import (
    Allowance,
    HostAccess,
    HostRules,
    powers,
    refused,
    refused_link,
    refused_path,
    refused_powers,
)
from domain.spec import Binding, ServiceSpec

RULES = HostRules(access=HostAccess.ADMINS, paths=("/srv/a", "/srv/b"), never=("/etc",))
MEMBER, ADMIN = RULES.of(Role.MEMBER), RULES.of(Role.ADMIN)
ASKED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"privileged": True}, {"privileged": "all devices and capabilities"}),
    ({"cap_add": ("NET_RAW", "CAP_CHOWN", "cap_kill")}, {}),
    ({"cap_add": ("cap_sys_admin", "KILL", "SYS_TIME")}, {"cap_add": "cap_sys_admin, SYS_TIME"}),
    ({"devices": ("/dev/sda", "/dev/sdb")}, {"devices": "/dev/sda, /dev/sdb"}),
    (
        {"security_opt": ("no-new-privileges:false", "seccomp=x", "apparmor=y")},
        {"security_opt": "seccomp=x, apparmor=y"},
    ),
    ({"cgroup_parent": "/x"}, {"cgroup_parent": "/x"}),
]


@pytest.mark.parametrize(("attributes", "asked"), ASKED)
def test_what_is_asked_of_a_host(attributes: dict[str, Any], asked: dict[str, str]) -> None:
    assert powers(ServiceSpec(image="a", **attributes)) == asked
    assert powers(ContainerSpec(image="a", image_id="", image_digest=None, hostname="a", **attributes)) == asked


def test_namespaces_of_the_host_are_asked_for_in_two_spellings() -> None:
    asked = {"net": "the host's network", "pid": "the host's processes"}
    assert powers(ServiceSpec(image="a", net="host", pid="host")) == asked
    made = ContainerSpec(image="a", image_id="", image_digest=None, hostname="a", host_network=True, host_pid=True)
    assert powers(made) == asked
    assert powers(ServiceSpec(image="a", net="bridge", pid="none")) == {}


def test_a_refusal_names_the_attribute_what_it_asks_for_and_who_may() -> None:
    spec = ServiceSpec(image="a", cgroup_parent="/" + "x" * 300)
    assert refused_powers(spec, ADMIN) == {}
    assert refused_powers(spec, MEMBER) == {
        "cgroup_parent": f"asks for /{'x' * 199}: that reaches into the host, which is for services of an admin (or,"
        " with TUTELA_HOST_ACCESS, of everyone or nobody)"
    }


def test_the_rules_of_an_installation_are_those_of_each_role() -> None:
    assert Allowance(powers=False, paths=("/srv/a", "/srv/b"), never=("/etc",)) == MEMBER
    assert Allowance(powers=True, paths=("/srv/a", "/srv/b"), never=("/etc",)) == ADMIN


@pytest.mark.parametrize(
    ("path", "allowance", "why"),
    [
        ("/srv/a/x", MEMBER, None),
        ("/srv/b", MEMBER, None),
        ("//srv//b/../b", MEMBER, None),
        ("/opt", ADMIN, None),
        ("/etc/x", ADMIN, "/etc/x is, holds or is inside /etc, which no container may have: use a managed volume"),
        (
            "/opt",
            MEMBER,
            "/opt: paths of the host are for services of an admin, others may mount those at or below"
            " /srv/a, /srv/b; use a volume",
        ),
        (
            "/opt",
            Allowance(),
            "/opt: paths of the host are for services of an admin, others may mount those of no kind; use a volume",
        ),
    ],
)
def test_a_path_that_may_not_be_mounted_says_why(path: str, allowance: Allowance, why: str | None) -> None:
    assert refused_path(path, allowance) == why
    spec = ServiceSpec(image="a", bindings=(Binding(container_path="/y"), Binding(container_path="/x", host_path=path)))
    assert refused(spec, allowance) == ({} if why is None else {"bindings[1].host_path": why})


def test_a_link_is_judged_by_its_name_and_by_where_it_leads() -> None:
    assert refused_link("/srv/a/x", "/srv/b/y", MEMBER) is None
    assert refused_link("/srv/a/x", "/etc/y", ADMIN) == refused_path("/etc/y", ADMIN)
    assert refused_link("/opt", "/srv/a", MEMBER) == refused_path("/opt", MEMBER)
    out = "/srv/a/x is a link that leads out of what may be mounted: name /opt/y itself"
    assert refused_link("//srv/a/x", "/opt/y", ADMIN) == out
