"""Names of registries and repositories: one repository, many spellings (spec 4.3, 4.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.registry import HUB, canonical, is_local, registry_of, repository_of, spellings


@pytest.mark.parametrize(
    ("name", "host", "repository"),
    [
        ("nginx", HUB, "library/nginx"),
        ("library/nginx", HUB, "library/nginx"),
        ("team/app", HUB, "team/app"),
        ("index.docker.io/nginx", HUB, "library/nginx"),
        ("INDEX.docker.io/team/app", HUB, "team/app"),
        ("registry.local/app", "registry.local", "app"),
        ("registry:5000/team/app", "registry:5000", "team/app"),
        ("localhost/app", "localhost", "app"),
        ("localhost", HUB, "library/localhost"),
    ],
)
def test_where_a_name_points_to(name: str, host: str, repository: str) -> None:
    assert (registry_of(name), repository_of(name)) == (host, repository)
    assert canonical(name) == f"{host}/{repository}"


def test_all_spellings_of_an_official_image() -> None:
    assert set(spellings("nginx")) == {
        "nginx", "library/nginx", "docker.io/nginx", "docker.io/library/nginx",
        "index.docker.io/nginx", "index.docker.io/library/nginx", "registry-1.docker.io/nginx",
        "registry-1.docker.io/library/nginx", "registry.hub.docker.com/nginx", "registry.hub.docker.com/library/nginx",
    }  # fmt: skip
    assert "docker.io/team/app" in spellings("team/app")
    assert "library/team/app" not in spellings("team/app")
    assert spellings("registry:5000/app") == ("registry:5000/app",)


part = st.sampled_from(["nginx", "team", "a.b", "library"])
hosts = st.sampled_from(["", "docker.io/", "Index.Docker.io/", "registry:5000/", "localhost/", "10.0.0.1/"])


@given(hosts, st.lists(part, min_size=1, max_size=3))
def test_every_spelling_is_the_same_repository(host: str, parts: list[str]) -> None:
    name = host + "/".join(parts)
    assert name in spellings(name)
    assert {canonical(each) for each in spellings(name)} == {canonical(name)}
    assert list(spellings(name)) == sorted(set(spellings(name)))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("localhost:x", False),
        ("registry:80:5000", False),
        ("10.0.0.1:5000", False),
        ("registry.local:5000", False),
        (HUB, False),
    ],
)
def test_which_registries_are_on_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local
