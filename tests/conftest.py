"""Real parts for the tests: an engine, a Postgres, a server. Session-wide where they bear it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import docker.errors
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.examples import load_profile
from tests.harness.hosts import Hosts
from tests.harness.images import ensure_images
from tests.harness.launch import warm
from tests.harness.postgres import TestPostgres
from tests.harness.registry import Registry, silent_registry
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

load_profile()
warm()
# For the engines, which begin a program of 90 MB for each container that they start: a quarter of what that costs is
# the collection of garbage that ends with it.
os.environ.setdefault("GOGC", "off")
os.environ.setdefault("GOMEMLIMIT", "256MiB")
CLUSTER_LABEL = "tutela.cluster"


@pytest.fixture(scope="session", autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests make in this process stays out of the machine's own installation."""
    before = os.environ.get("TUTELA_STATE_DIR")
    os.environ["TUTELA_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["TUTELA_STATE_DIR"]
    else:
        os.environ["TUTELA_STATE_DIR"] = before


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[TestPostgres]:
    """The session's Postgres server."""
    server = TestPostgres()
    await server.make_template()
    yield server
    server.close()


@pytest.fixture
async def database_url(postgres: TestPostgres) -> AsyncIterator[str]:
    """A fresh migrated database."""
    dsn = await postgres.fresh()
    yield dsn
    await postgres.drop(dsn)


@pytest.fixture(scope="session")
def engine() -> Iterator[PrivateEngine]:
    """The session's Docker engine, with the test images on it."""
    yield from _engine()


@pytest.fixture
def own_engine() -> Iterator[PrivateEngine]:
    """An engine for one test, to be killed."""
    yield from _engine()


@pytest.fixture
def engine_on_small_disk() -> Iterator[PrivateEngine]:
    """An engine for one test, whose data directory is a file system of 1,500 MB."""
    yield from _engine(disk=1500)


def _engine(disk: int = 0) -> Iterator[PrivateEngine]:
    private = PrivateEngine(disk=disk)
    try:
        private.start()
        ensure_images(private.client())
        yield private
    finally:
        private.stop()


@pytest.fixture
def registry(engine: PrivateEngine) -> Iterator[Registry]:
    """A registry that the session's engine can reach."""
    serving = Registry(engine.host_address)
    try:
        serving.start()
        yield serving
    finally:
        serving.close()


@pytest.fixture
def silent(engine: PrivateEngine) -> Iterator[str]:
    """The address of a registry that never answers: what is pulled from there is under way for long."""
    with silent_registry(engine.host_address) as address:
        yield address


@pytest.fixture
def own_server(engine: PrivateEngine, database_url: str) -> Iterator[TutelaProcess]:
    """A running Tutela on the session's engine and a database of its own, for one test."""
    process = TutelaProcess(docker_host=engine.base_url, dsn=database_url)
    try:
        process.start()
        yield process
    finally:
        process.close()
        sweep(engine)


@pytest.fixture
def server(own_server: TutelaProcess) -> TutelaProcess:
    """A running Tutela. Folders whose tests bear what others left of it share one in a module."""
    return own_server


def sweep(engine: PrivateEngine) -> None:
    """Remove what Tutela made on the engine."""
    client = engine.client()

    def swept() -> bool:
        try:
            found = client.containers(all=True, filters={"label": CLUSTER_LABEL})
            with ThreadPoolExecutor(4) as several:
                list(several.map(lambda each: client.remove_container(each["Id"], force=True, v=True), found))
            for network in client.networks(filters={"label": CLUSTER_LABEL}):
                client.remove_network(network["Id"])
            for volume in client.volumes()["Volumes"] or ():
                if volume["Name"].startswith("tutela-"):
                    client.remove_volume(volume["Name"])
        except docker.errors.APIError:
            return False  # the engine is still at what was asked of it by an agent that is no more
        return True

    wait_for(swept, timeout=60, what="the engine to be empty")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed end-to-end test shows the server's log, and those of its hosts."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    used = getattr(item, "funcargs", {})
    process = used.get("own_server") or used.get("server")
    if report.failed and isinstance(process, TutelaProcess):
        report.sections.append(("server log", process.log()[-12000:]))
    hosts = used.get("hosts")
    if report.failed and isinstance(hosts, Hosts):
        report.sections.append(("logs of control plane and hosts", hosts.last_words()))
