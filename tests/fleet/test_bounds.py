"""What nodes say, cut to what it can mean; what an honest agent says passes as it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from app.fleet import bounds
from domain.assignment import ContainerReport, EngineInfo, ImageResult, NodeReport
from domain.container import Observed, Seen
from domain.engine_notes import EngineSetup
from domain.image import ImagePort, ResolvedImage
from domain.quarantine import SHOWN
from domain.spec import Transport
from domain.swarm import SwarmReport, SwarmSeen

AT = datetime(2026, 1, 1, tzinfo=UTC)
ENGINE = EngineInfo(
    engine_id="E", version="20.10", storage_driver="overlay2", cpus=2, memory=4096, gateway="172.17.0.1",
    disk=50_000, disk_free=40_000, place="h1:/var/lib/docker",
    setup=EngineSetup(runc="1.1.5", containerd="1.6.20", open_api=("http://0.0.0.0:2375",), live_restore=False),
)  # fmt: skip
SEEN = Observed(
    state=Seen.EXITED, start_gen=3, engine_id="e" * 64, exit_code=-1, restart_count=7, created_at=AT, started_at=AT,
    finished_at=AT, ip="10.0.0.2", message="it ended: ünïcode",
)  # fmt: skip
HONEST = NodeReport(
    node_id=uuid4(),
    session=1,
    seq=1,
    applied_revision=1,
    engine=ENGINE,
    containers=(ContainerReport(container_id=uuid4(), observed=SEEN),),
    images=(ImageResult(request_id=uuid4(), error="no such image"),),
    swarm=SwarmReport(seen=SwarmSeen(node="n", cluster="c", error="it is slow", by="10.0.0.1")),
)


def tamed(**lie: object) -> Observed:
    said = ContainerReport(container_id=uuid4(), observed=replace(SEEN, **lie))  # type: ignore[arg-type]
    return bounds.report(replace(HONEST, containers=(said,))).containers[0].observed


def test_an_honest_report_passes() -> None:
    assert bounds.report(HONEST) == HONEST


def test_numbers_times_and_texts_are_cut() -> None:
    assert tamed(exit_code=10**400).exit_code == bounds.LARGEST
    assert tamed(restart_count=-1).restart_count == 0
    naive = AT.replace(tzinfo=None)
    assert tamed(started_at=naive).started_at is None
    assert tamed(finished_at=AT.replace(year=9999)).finished_at is None
    assert tamed(created_at=AT.replace(year=1)).created_at is None
    assert tamed(message="a\x00b\ud800").message == "a\ufffdb?"
    assert len(tamed(message="x" * 10**6).message or "") == bounds.MOST_MESSAGE
    huge = bounds.engine(replace(ENGINE, memory=10**400, cpus=-1, version="v" * 10**6))
    assert huge is not None
    assert (huge.memory, huge.cpus, len(huge.version)) == (bounds.LARGEST, 0, bounds.MOST_WORD)
    assert bounds.engine(None) is None


def test_an_image_that_says_what_nobody_can_keep_is_one_that_is_not_to_be_had() -> None:
    """The agent says so as well; one that lies would have its own session end again and again."""
    image = ResolvedImage(reference="a:1", image_id="sha256:1", env=(("PATH", "/bin"),), command=("run",))
    many = tuple(ImagePort(protocol=Transport.UDP, port=port) for port in range(10_000, 20_001))
    for good in (image, replace(image, ports=many), replace(image, env=(("BIG", "x" * 130_000),))):
        said = ImageResult(request_id=uuid4(), image=good)
        assert bounds.report(replace(HONEST, images=(said,))).images == (said,)
    odd = {"env": (("A", "a\x00b"),), "command": ("\ud800",), "volumes": ("/v" * 400_000,), "image_id": "\x00"}
    for field, lie in odd.items():
        said = ImageResult(request_id=uuid4(), image=replace(image, **{field: lie}))  # type: ignore[arg-type]
        (found,) = bounds.report(replace(HONEST, images=(said,))).images
        assert found.image is None
        assert "cannot be used: its variables, commands, volumes and ports have" in (found.error or "")


def test_how_an_engine_is_set_up_is_cut_too() -> None:
    lie = EngineSetup(runc="r" * 10**6, containerd="c\x00" * 10**6, open_api=("a" * 10**6,) * 1000)
    tame = bounds.engine(replace(ENGINE, setup=lie))
    assert tame is not None
    assert tame.setup is not None
    words = (tame.setup.runc, tame.setup.containerd, *tame.setup.open_api)
    assert (len(words), {len(word) for word in words}) == (2 + SHOWN, {bounds.MOST_WORD})
    assert bounds.engine(replace(ENGINE, setup=None)) == replace(ENGINE, setup=None)
