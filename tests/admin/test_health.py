"""Health for whoever watches, without a key and without details; the page for admins; figures for Prometheus."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.main import create_app
from app.serve_codes import FAILED
from app.settings import Settings
from orchestrator.metrics import Counter, Histogram, gauge
from orchestrator.store import fleet
from orchestrator.store.db import Database
from tests.admin.conftest import ADMIN, Office, header
from tests.admin.servers import control_plane
from tests.api.client import API
from tests.harness.launch import SERVE, launch
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for
from tests.orchestrator.world import Node


async def anybody(office: Office, path: str) -> httpx2.Response:
    return await office.http.get(path)


async def test_strangers_learn_whether_each_component_is_well_and_no_more(office: Office) -> None:
    assert (await anybody(office, "/healthz")).json() == {"status": "ok"}
    answer = await anybody(office, "/readyz")
    well = {"database": "ok", "migrations": "ok", "reconciler": "ok"}
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "components": well})
    await office.call("POST", f"{ADMIN}/reconciler/pause/")
    answer = await anybody(office, "/readyz")
    assert (answer.status_code, answer.json()["components"]) == (503, {**well, "reconciler": "not ok"})
    assert (await anybody(office, "/healthz")).status_code == 200
    assert (await anybody(office, "/health")).status_code == 200
    await office.call("POST", f"{ADMIN}/reconciler/resume/")
    async with office.db.transaction() as conn:
        await conn.execute("UPDATE alembic_version SET version_num = '0001'")
    answer = await anybody(office, "/readyz")
    assert (answer.status_code, answer.json()["components"]) == (503, {**well, "migrations": "not ok"})


async def test_without_its_database_it_lives_and_is_not_ready() -> None:
    own = TestPostgres()
    try:
        await own.make_template()
        db = await Database.open(await own.fresh(), size=2)
        transport = httpx2.ASGITransport(app=create_app(Settings(), db, None))
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
            assert (await http.get("/readyz")).status_code == 200
            own.server.stop()
            assert (await http.get("/healthz")).status_code == 200
            answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert set(answer.json()["components"].values()) == {"not ok"}
            assert (await http.get("/health")).status_code == 503
        await db.close()
    finally:
        own.close()


async def test_the_page_for_admins(office: Office) -> None:
    await Node.join(office.db, "a")
    service = await office.create(name="web")
    await office.call("POST", f"{service['resource_uri']}start/")
    shown = (await office.call("GET", f"{ADMIN}/health/")).json()
    assert shown["status"] == "not ok", "no control plane serves agents"
    async with office.db.transaction() as conn:
        await fleet.control_plane_up(conn, uuid4(), "wss://127.0.0.1:8801", 10)
    assert (await office.call("GET", f"{ADMIN}/health/")).json()["status"] == "ok"
    async with office.db.transaction() as conn:
        await conn.execute("INSERT INTO nodes (id, name, state) VALUES (gen_random_uuid(), 'b', 'Unreachable')")
    shown = (await office.call("GET", f"{ADMIN}/health/")).json()
    assert shown["status"] == "not ok", "a host is unreachable"
    assert set(shown["components"].values()) == {"ok"}
    assert shown["versions"]["schema"] == shown["versions"]["newest_schema"]
    assert shown["agents"] == {"Deploying": 0, "Deployed": 1, "Unreachable": 1}
    assert [(each["name"], each["containers"]) for each in shown["nodes"]] == [("a", 0), ("b", 0)]
    assert shown["postgres"]["size_bytes"] > 1_000_000
    assert 0 < shown["postgres"]["pool_size"] <= shown["postgres"]["pool_most"] == 4
    assert shown["reconciler"]["due"] == 1
    assert shown["reconciler"]["oldest_due_seconds"] >= 0


SAMPLE = re.compile(r'([a-z_]+)(?:{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)})? (-?[0-9.e+-]+|\+Inf)')


def parsed(text: str) -> dict[str, float]:
    """The samples of an exposition; every line must be one, or of the kind that announces a family once."""
    out: dict[str, float] = {}
    announced: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            announced.append(line.split(" ")[2])
            continue
        if line.startswith("# TYPE "):
            assert line.split(" ")[2] == announced[-1]
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name = found[1]
        assert announced[-1] in {name, re.sub("_(bucket|sum|count)$", "", name)}, line
        assert line.rsplit(" ", 1)[0] not in out, line
        out[line.rsplit(" ", 1)[0]] = float(found[3])
    assert len(set(announced)) == len(announced)
    return out


def test_the_text_form() -> None:
    counter = Counter("c_total", "Text.", "name")
    counter.add('a"\\\nb', n=2)
    assert counter.lines()[2] == 'c_total{name="a\\"\\\\\\nb"} 2'
    histogram = Histogram("h", "Text.")
    for seconds in (0.001, 0.02, 99.0):
        histogram.observe(seconds)
    samples = parsed("\n".join(histogram.lines()))
    assert samples['h_bucket{le="0.001"}'] == 1
    assert samples['h_bucket{le="0.025"}'] == samples['h_bucket{le="10"}'] == 2
    assert samples['h_bucket{le="+Inf"}'] == samples["h_count"] == 3
    assert samples["h_sum"] == pytest.approx(99.021)
    assert gauge("g", "Text.", {(): 1.5}) == ["# HELP g Text.", "# TYPE g gauge", "g 1.5"]


async def scrape(office: Office, **more: Any) -> dict[str, float]:
    answer = await office.call("GET", "/metrics", **more)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parsed(answer.text)


async def test_what_is_measured(office: Office) -> None:
    node = await Node.join(office.db, "a")
    await node.report({})
    before = await scrape(office)
    service = await office.create(name="web")
    await office.call("GET", service["resource_uri"])
    await office.call("GET", f"{API}/nothing/")
    await office.http.get(f"{API}/service/", headers=header("admin", "wrong"))
    await node.report({})
    after = await scrape(office)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    route = 'route="/api/v1/service/{uuid}/"'
    assert grown(f'tutela_http_requests_total{{method="GET",{route},code="200"}}') == 1
    assert grown(f'tutela_http_request_seconds_count{{method="GET",{route}}}') == 1
    assert grown('tutela_http_requests_total{method="GET",route="none",code="404"}') == 1
    assert grown('tutela_http_requests_total{method="GET",route="/api/v1/service/",code="401"}') == 1
    assert grown("tutela_failed_logins_total") == 1
    assert grown("tutela_reports_total") == 1
    assert after['tutela_agents{state="Deployed"}'] == 1
    assert after['tutela_containers{node="a"}'] == 0
    assert after["tutela_database_up"] == 1
    assert service["uuid"] not in str(after)


async def test_the_figures_are_closed_to_all_but_admins(office: Office) -> None:
    eve = await office.hire("eve")
    assert (await office.http.get("/metrics")).status_code == 401
    assert (await office.call("GET", "/metrics", headers=eve)).status_code == 403


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Any]:
    db = await Database.open(database_url, size=2)
    app = create_app(Settings(metrics_open=True), db, None)

    async def asked(client: str, headers: dict[str, str] | None = None) -> int:
        transport = httpx2.ASGITransport(app=app, client=(client, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
            return (await http.get("/metrics", headers=headers or {})).status_code

    yield asked
    await db.close()


async def test_a_setting_opens_them_to_this_machine_only(opened: Any) -> None:
    assert await opened("127.0.0.1") == 200
    assert await opened("::1") == 200
    assert await opened("192.0.2.1") == 401
    assert await opened("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}) == 401


async def test_a_scrape_reads_no_large_table(office: Office) -> None:
    """Its statements, not its time: what they read does not grow with services and containers."""
    from tests.api.test_cost import FILL, logged, scanned

    await office.create(name="web")
    async with office.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
    seen: list[tuple[str, tuple[Any, ...]]] = []
    with logged(seen):
        await scrape(office)
        await office.http.get("/readyz")
        await office.call("GET", f"{ADMIN}/health/")
    found = [problem for query, arguments in seen if (problem := await scanned(office.db, query, arguments))]
    assert not found, "\n\n".join(found)


def test_a_real_process(database_url: str) -> None:
    with control_plane(database_url) as server:
        _watched(server)


def _watched(server: TutelaProcess) -> None:
    # It serves already while it writes down that it is there.
    planes = wait_for(
        lambda: server.api.get(f"{ADMIN}/health/").json["control_planes"] or None, timeout=30, what="it to be shown"
    )
    assert server.api.get("/readyz", auth=False).status == 200
    assert server.api.get("/metrics", auth=False).status == 401
    began = time.monotonic()
    samples = parsed(server.api.get("/metrics").text)
    print(f"a scrape took {(time.monotonic() - began) * 1000:.1f} ms, {len(samples)} samples")
    assert samples["tutela_control_planes"] == 1
    assert planes[0]["agent_url"].endswith(str(server.agent_port))


def test_a_port_that_is_taken_ends_the_server_with_the_remedy(database_url: str) -> None:
    """Not with the code of a lock that another server holds, for whom `up` would wait."""
    process = TutelaProcess(docker_host="unix:///nowhere.sock", dsn=database_url, env={"TUTELA_ROLES": "api"})
    try:
        with socket.create_server(("127.0.0.1", process.port)):
            program = launch(SERVE, env=process.environment, log=process.state_dir / "server.log")
            assert program.wait(timeout=60) == FAILED
        assert "is the port taken? Then set TUTELA_PORT" in process.log()
        assert "never retrieved" not in process.log()
    finally:
        process.close()
