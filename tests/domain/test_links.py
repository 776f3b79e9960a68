"""Link variables against the vectors of spec 3.4 and 3.5."""

from __future__ import annotations

import json
from pathlib import Path

from domain.links import (
    Endpoint,
    LinkTarget,
    Source,
    client_environment,
    link_variables,
    mangle,
    sibling_environment,
)
from domain.spec import Transport

SEED = json.loads((Path(__file__).parent / "seed_link_variables.json").read_text(encoding="utf-8"))
SEED_ENV = (
    ("DB_HOST", "**LinkMe**"),
    ("DB_NAME", "wordpress"),
    ("DB_PASS", "szVaPz925B7I"),
    ("DB_PORT", "**LinkMe**"),
    ("DB_USER", "admin"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("HOME", "/"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
)
API = "https://app-test.tutum.co/api/v1/service/adeebc1b-1b81-4af0-b8f2-cefffc69d7fb/"


def source(index: int, *ends: tuple[str, int, str, int], env: tuple[tuple[str, str], ...] = ()) -> Source:
    return Source(
        index=index,
        env=env,
        endpoints=tuple(
            Endpoint(protocol=Transport(proto), inner_port=inner, address=address, port=port)
            for proto, inner, address, port in ends
        ),
    )


def test_the_seeds_example_gives_exactly_its_forty_variables() -> None:
    one = source(1, ("tcp", 80, "wordpress-stackable-1.9691c44e-admin.node.staging.tutum.io", 49153), env=SEED_ENV)
    two = source(2, ("tcp", 80, "wordpress-stackable-2.2686cf70-admin.node.staging.tutum.io", 49154), env=SEED_ENV)
    assert len(SEED) == 40
    assert link_variables("wordpress-stackable", [two, one], API) == SEED


def test_without_containers_only_the_api_url_is_left() -> None:
    assert link_variables("db", [], "http://a/") == {"DB_TUTUM_API_URL": "http://a/"}


def test_odd_names_are_mangled_and_a_container_without_ports_gives_its_environment() -> None:
    assert link_variables("my.app_2", [source(3, env=(("A", "1"),))], "u") == {
        "MY_APP_2_3_ENV_A": "1",
        "MY_APP_2_ENV_A": "1",
        "MY_APP_2_TUTUM_API_URL": "u",
    }
    assert mangle("wördpress-1") == "W_RDPRESS_1"


def test_several_ports_tcp_first_and_lowest() -> None:
    out = link_variables(
        "dns", [source(1, ("udp", 53, "dns-1", 53), ("tcp", 8080, "dns-1", 8080), ("tcp", 53, "dns-1", 53))], None
    )
    assert out["DNS_1_PORT"] == out["DNS_PORT"] == "tcp://dns-1:53"
    assert out["DNS_1_PORT_53_UDP"] == "udp://dns-1:53"
    assert out["DNS_1_PORT_53_UDP_PROTO"] == "udp"
    assert out["DNS_PORT_8080_TCP_ADDR"] == "dns-1"


def test_the_unindexed_ones_are_the_lowest_indexs_in_numeric_order() -> None:
    out = link_variables("web", [source(10, ("tcp", 80, "web-10", 80)), source(9, ("tcp", 80, "web-9", 80))], None)
    assert out["WEB_PORT_80_TCP_ADDR"] == "web-9"
    assert not any(key.startswith("WEB_1_") for key in out)


def test_one_inner_port_mapped_twice_gives_one_entry_with_the_lowest_port() -> None:
    out = link_variables("web", [source(1, ("tcp", 80, "n", 8081), ("tcp", 80, "n", 8080))], None)
    assert out["WEB_PORT_80_TCP_PORT"] == "8080"


def test_the_link_name_is_the_prefix_and_the_explicit_link_wins_a_collision() -> None:
    web = LinkTarget(alias="web", api_url="u1", sources=(source(1, ("tcp", 80, "web-1", 80)),))
    other = LinkTarget(alias="web-1", api_url="u2", sources=(source(1, ("tcp", 80, "o-1", 80)),))
    out = dict(client_environment([other, web]))
    assert out["WEB_1_PORT_80_TCP_ADDR"] == "o-1"
    assert out["WEB_PORT_80_TCP_ADDR"] == "web-1"


def test_siblings_see_the_indexed_blocks_only() -> None:
    out = dict(sibling_environment("my-web-app", [source(1, ("tcp", 80, "my-web-app-1", 80))]))
    assert set(out) == {
        "MY_WEB_APP_1_PORT",
        "MY_WEB_APP_1_PORT_80_TCP",
        "MY_WEB_APP_1_PORT_80_TCP_ADDR",
        "MY_WEB_APP_1_PORT_80_TCP_PORT",
        "MY_WEB_APP_1_PORT_80_TCP_PROTO",
    }
