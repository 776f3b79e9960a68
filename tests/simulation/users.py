"""Users by seed, through the real commands: each owns a service, works on it, and remembers what it was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from app.commands import actions as action_commands
from app.commands import containers as container_commands
from app.commands import nodes as node_commands
from app.commands import services as service_commands
from app.commands.services import Context
from domain.action import Request
from domain.asked import AskedLink
from domain.container import Want
from domain.errors import DomainError
from domain.policy import Allowance
from domain.service import Service, Verb
from domain.spec import Binding, CrashPolicy, PortSpec, ServiceSpec, Strategy, Transport
from orchestrator.store import containers
from orchestrator.store.audit import Entry
from orchestrator.store.errors import DatabaseAway
from tests.simulation.plane import Plane
from tests.simulation.process import Killed

if TYPE_CHECKING:
    from tests.simulation.world import World

_OPEN = "SELECT id, verb FROM actions WHERE end_date IS NULL AND service_id IS NOT NULL"
_THERE = "SELECT 1 FROM containers WHERE service_id = $1 AND terminated_at IS NULL AND want <> 'GONE'"
DOING = (
    "start", "stop", "again", "scale", "redeploy", "image", "policy",
    "container", "cancel", "terminate", "node", "halt",
)  # fmt: skip
_OFTEN = (4, 2, 3, 5, 3, 3, 2, 4, 1, 0.5, 1.5, 0)
"""How often users do what, beside the others; without faults what is to keep a service serving (I7).
What has none is for leanings."""

_CALMLY = (4, 1, 1, 4, 8, 6, 1, 2, 0.5, 0.2, 0.3, 0)
STAYS, OTHER, JOB, CRASHES, MISSING = "app:1", "app:2", "job:1", "crash:1", "missing:1"


@dataclass(slots=True)
class Wish:
    """What the owner of a service was told last. `uncertain`: the last request had no answer, or others interfered."""

    name: str
    service_id: UUID
    want: str | None = "INIT"
    target: int | None = None
    uncertain: bool = False


class Unknown(Exception):
    """No answer: the request was carried out, or not."""


class User:
    """Does something now and then until cancelled."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        self._world = world
        self._name = f"user{number}"
        self._number = number
        self._chance = chance
        self._wish: Wish | None = None

    async def run(self) -> None:
        """Create a service, start it, and go on."""
        while self._wish is None:
            await self._pause()
            await self._create()
        await self._do("start", lambda c, i: service_commands.run(c, i, Verb.START), want="RUNNING")
        while True:
            await self._pause()
            await self._something()

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.expovariate(1 / self._world.knobs.user_every))

    async def ask(self, what: str, command: Callable[[Context], Awaitable[object]]) -> object:
        """Send a request to a control plane that is up. Raises DomainError, Unknown."""
        world = self._world
        planes = [each for each in world.planes if each.up]
        if not planes:
            raise Unknown
        plane = self._chance.choice(planes)

        async def handled() -> object:
            return await command(self._context(plane))

        task = plane.process.spawn(handled())
        world.asked.add(task)
        task.add_done_callback(world.asked.discard)
        task.add_done_callback(lambda over: None if over.cancelled() else over.exception())
        done, _ = await asyncio.wait({task}, timeout=20.0)
        try:
            if not done:
                raise Unknown
            result = task.result()
        except (DatabaseAway, Killed, asyncio.CancelledError, Unknown):
            if (me := asyncio.current_task()) is not None and me.cancelling():
                raise
            world.history.add(self._name, f"{what}: no answer")
            raise Unknown from None
        except DomainError as error:
            world.history.add(self._name, f"{what}: refused: {error}")
            raise
        world.history.add(self._name, f"{what}: accepted")
        return result

    def _context(self, plane: Plane) -> Context:
        return Context(
            db=plane.db,  # type: ignore[arg-type]
            account=self._world.account,
            request=Request(),
            action_id=uuid4(),
            network_pool=self._world.installation.network_pool,
            may=Allowance(powers=True),
            owner_may=Allowance(powers=True),
            audit=Entry(id=uuid4(), request_id="", ip="", method="POST", path="/"),
        )

    async def _create(self) -> None:
        chance, name = self._chance, f"s{self._number}"
        spec, target = self._spec(), chance.randint(1, 3)
        if spec.ports:  # the port of a host is one container's: more would be waiting for room, and nothing else
            target = min(target, len(self._world.hosts))
        links = []
        others = [each for each in self._world.wishes if each.want != "TERMINATED"]
        if others and chance.random() < 0.4:
            links = [AskedLink(path="linked_to_service[0]", to_service=str(others[0].service_id), name="db")]
        try:
            done = await self.ask(
                f"create {name} target {target} {_short(spec)}",
                lambda c: service_commands.create(c, name=name, target=target, spec=spec, links=links),
            )
        except (DomainError, Unknown):
            self._number += 100
            return
        assert isinstance(done, service_commands.Done)
        self._wish = Wish(name, done.service_id, target=target)
        self._world.wishes.append(self._wish)
        if spec.autodestroy is not CrashPolicy.OFF or spec.deployment_strategy is Strategy.EVERY_NODE:
            self._wish.target = None
            self._world.shrinking.add(name)

    def _spec(self) -> ServiceSpec:
        chance = self._chance
        # What a policy starts again anyway says nothing of what the lease is for.
        often = CrashPolicy.OFF if self._world.knobs.silence else CrashPolicy.ALWAYS
        spec = ServiceSpec(
            image=chance.choice((STAYS, STAYS, STAYS, STAYS, OTHER, JOB, CRASHES)),
            autorestart=chance.choice((CrashPolicy.OFF, CrashPolicy.OFF, often, often, CrashPolicy.ON_FAILURE)),
            sequential_deployment=chance.random() < 0.3,
            deployment_strategy=chance.choice(
                (Strategy.EMPTIEST_NODE, Strategy.EMPTIEST_NODE, Strategy.HIGH_AVAILABILITY, Strategy.EVERY_NODE)
            ),
        )
        if chance.random() < 0.3:
            spec = replace(spec, autoreplace=chance.choice((CrashPolicy.ALWAYS, CrashPolicy.ON_FAILURE)))
        if chance.random() < 0.1 and spec.autoreplace is CrashPolicy.OFF:
            spec = replace(spec, autodestroy=CrashPolicy.ON_SUCCESS)
        if chance.random() < 0.3:
            spec = replace(spec, lost_after=chance.choice((5, 8, 20)))
        if chance.random() < (0.8 if self._world.knobs.silence else 0.3):
            spec = replace(spec, single_writer=True)
        if chance.random() < 0.25:
            port = PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=8000 + self._number % 100, published=True)
            spec = replace(spec, ports=(port,))
        if chance.random() < 0.2:
            spec = replace(spec, bindings=(Binding(container_path="/data"),))
        return replace(spec, **self._world.leaning.spec)

    async def _something(self) -> None:
        chance, wish = self._chance, self._wish
        assert wish is not None
        if wish.want == "TERMINATED":
            return
        usual: tuple[float, ...] = _CALMLY if self._world.knobs.calm else _OFTEN
        often = {**dict(zip(DOING, usual, strict=True)), **self._world.leaning.doing}
        match chance.choices(DOING, list(often.values()))[0]:
            case "start":
                await self._do("start", lambda c, i: service_commands.run(c, i, Verb.START), want="RUNNING")
            case "stop":
                await self._do("stop", lambda c, i: service_commands.run(c, i, Verb.STOP), want="STOPPED")
            case "again":
                await self._again()
            case "redeploy":
                await self._do("redeploy", lambda c, i: service_commands.run(c, i, Verb.REDEPLOY), want="RUNNING")
            case "terminate":
                await self._do("terminate", lambda c, i: service_commands.run(c, i, Verb.TERMINATE), want="TERMINATED")
            case "scale":
                await self._scale(chance.randint(0, 4))
            case "image":
                image = chance.choice((STAYS, OTHER, STAYS, OTHER, STAYS, OTHER, JOB, MISSING))
                await self._patch(f"image {image}", lambda spec: replace(spec, image=image))
            case "policy":
                policy = chance.choice((CrashPolicy.OFF, CrashPolicy.ALWAYS, CrashPolicy.ON_FAILURE))
                self._world.restart_policies_changed.add(str(wish.service_id))
                await self._patch(f"autorestart {policy.value}", lambda spec: replace(spec, autorestart=policy))
            case "container":
                await self._container()
            case "halt":
                await self._container(Verb.STOP)
            case "cancel":
                await self._cancel()
            case "node":
                await self._node()

    async def _again(self) -> None:
        """Stop and start: when it has stopped, or in the grace of the stop, which is given up for that (F46)."""
        wish = self._wish
        assert wish is not None
        await self._do("stop", lambda c, i: service_commands.run(c, i, Verb.STOP), want="STOPPED")
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
            await self._cancel("AND service_id = $1", wish.service_id)
        else:
            for _ in range(24):
                if not self._world.store.ask(f"{_OPEN} AND service_id = $1", wish.service_id):
                    break
                await asyncio.sleep(0.25)
        await self._do("start", lambda c, i: service_commands.run(c, i, Verb.START), want="RUNNING")

    async def _do(
        self, what: str, command: Callable[[Context, UUID], Awaitable[object]], *, want: str | None = None
    ) -> bool:
        """Whether it was accepted."""
        wish = self._wish
        assert wish is not None
        try:
            await self.ask(f"{what} {wish.name}", lambda context: command(context, wish.service_id))
        except (Unknown, asyncio.CancelledError) as error:
            wish.uncertain = True
            if not isinstance(error, Unknown):
                raise  # the day is over, and what was asked may be done
            return False
        except DomainError:
            return False
        if want is not None:
            wish.want, wish.uncertain = want, wish.uncertain and wish.target is not None
        return True

    async def _scale(self, target: int) -> None:
        wish = self._wish
        assert wish is not None

        def read(service: Service) -> tuple[ServiceSpec, int, None]:
            return service.spec, target, None

        if wish.target is None or target < wish.target:
            self._world.scaled_down.add(str(wish.service_id))
        empty = not self._world.store.ask(_THERE, wish.service_id)
        try:
            await self.ask(
                f"scale {wish.name} to {target}", lambda c: service_commands.update(c, wish.service_id, read)
            )
        except (Unknown, asyncio.CancelledError) as error:
            wish.uncertain = True
            if not isinstance(error, Unknown):
                raise  # the day is over, and what was asked may be done
        except DomainError:
            return
        else:
            if wish.want == "STOPPED" and empty and target:
                # It was Not running, by its target (seed 60034) or a drain (21714): a target starts it.
                wish.want = None
            if wish.target is not None:
                wish.target = target
            await self._do("scale", lambda c, i: service_commands.run(c, i, Verb.SCALE))

    async def _patch(self, what: str, change: Callable[[ServiceSpec], ServiceSpec]) -> None:
        await self._do(
            f"patch {what}", lambda c, i: service_commands.update(c, i, lambda s: (change(s.spec), None, None))
        )

    async def _container(self, verb: Verb | None = None) -> None:
        chance, wish = self._chance, self._wish
        assert wish is not None
        verb = verb or chance.choice((Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.REDEPLOY, Verb.TERMINATE))

        found = False

        async def command(context: Context, service_id: UUID) -> None:
            nonlocal found
            async with context.db.read() as conn:
                rows = await containers.open_rows(conn, [service_id])
            rows = [row for row in rows if row.want is not Want.GONE]
            found = bool(rows)
            if rows:
                await container_commands.run(context, chance.choice(rows).id, verb)

        if verb is Verb.TERMINATE:
            wish.target = None  # it lowers the target by one, if there was a container
        accepted = await self._do(f"{verb.value} a container of", command)
        if accepted and found and verb in {Verb.START, Verb.REDEPLOY} and wish.want != "TERMINATED":
            wish.want = "RUNNING"  # a container that is started makes its service one that is to run

    async def _cancel(self, which: str = "", *of: UUID) -> None:
        rows = self._world.store.ask(f"{_OPEN} {which} ORDER BY start_date, id", *of)
        if rows:
            row = self._chance.choice(rows)
            for each in self._world.wishes:
                each.uncertain = True  # what of a canceled operation is left is not told
            await self._do(f"cancel {row['verb']}", lambda c, _: action_commands.cancel_action(c, row["id"]))

    async def _node(self) -> None:
        rows = self._world.store.ask("SELECT id, name, cordoned FROM nodes WHERE state <> 'Terminated' ORDER BY name")
        if len(rows) < 2:
            return
        row = self._chance.choice(rows)
        self._world.drained.add(row["name"])
        if row["cordoned"]:
            await self._do(
                f"uncordon {row['name']} for", lambda c, _: node_commands.cordon(c, row["id"], cordoned=False)
            )
        elif self._chance.random() < 0.5:
            await self._do(f"cordon {row['name']} for", lambda c, _: node_commands.cordon(c, row["id"], cordoned=True))
        else:
            await self._do(f"drain {row['name']} for", lambda c, _: node_commands.drain(c, row["id"]))

    async def last_words(self) -> None:
        """Terminate whatever is there; again until somebody listens, or it turns out that somebody did before."""
        while self._wish is not None and self._wish.want != "TERMINATED" and not self._is_terminated(self._wish):
            await self._do("terminate", lambda c, i: service_commands.run(c, i, Verb.TERMINATE), want="TERMINATED")
            await asyncio.sleep(0.5)

    def _is_terminated(self, wish: Wish) -> bool:
        rows = self._world.store.ask("SELECT want FROM services WHERE id = $1", wish.service_id)
        return any(row["want"] == "TERMINATED" for row in rows)

    async def uncordon(self) -> None:
        """Let all nodes take containers again."""
        for row in self._world.store.ask("SELECT id, name FROM nodes WHERE cordoned ORDER BY name"):
            command = partial(node_commands.cordon, node_id=row["id"], cordoned=False)
            await self.ask(f"uncordon {row['name']}", command)


def _short(spec: ServiceSpec) -> str:
    words = [spec.image, f"autorestart={spec.autorestart.value}", spec.deployment_strategy.value]
    words += ["sequential"] if spec.sequential_deployment else []
    words += ["single_writer"] if spec.single_writer else []
    words += [f"lost_after={spec.lost_after}"] if spec.lost_after is not None else []
    words += [f"autoreplace={spec.autoreplace.value}"] if spec.autoreplace is not CrashPolicy.OFF else []
    words += [f"autodestroy={spec.autodestroy.value}"] if spec.autodestroy is not CrashPolicy.OFF else []
    words += ["port"] if spec.ports else []
    words += ["volume"] if spec.bindings else []
    return " ".join(words)
