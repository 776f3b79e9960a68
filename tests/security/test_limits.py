"""Nobody may do anything as often as they like (S10, F51): in this process, by a clock of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import hypothesis
import pytest
from hypothesis import strategies

from app import passwords
from app.limits import CALLERS, FAILED_LOGINS, REMEMBERED, TRIGGER_CALLS, Buckets, Limits, neighbourhood
from app.main import create_app
from app.settings import Settings
from tests.admin.conftest import Office, header
from tests.agents.harness import eventually
from tests.api.client import API
from tests.security.conftest import fresh


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(office: Office) -> Iterator[Clock]:
    """All limits of the office by this clock, with nothing counted yet."""
    made = Clock()
    office.app.state.limits = Limits.of(office.app.state.settings, made)
    yield made
    office.app.state.limits = Limits.of(Settings())


@hypothesis.given(strategies.lists(strategies.floats(0, 30), min_size=1, max_size=60))
def test_in_any_minute_no_more_than_twice_the_rate_and_after_it_all_of_it(pauses: list[float]) -> None:
    """A bucket that is full gives all at once, and what has come into it since; waiting as told is enough."""
    clock = Clock()
    buckets = Buckets(10, clock=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        if wait is None:
            taken.append(clock.now)
        else:
            clock.now += wait
            assert buckets.waiting("a") is None
    for at in taken:
        assert len([each for each in taken if at <= each < at + 60]) <= 20
    clock.now += 60
    assert [buckets.take("a") for _ in range(10)] == [None] * 10
    assert buckets.take("a") == 6
    assert buckets.take("b") is None


def test_what_is_given_back_is_there_again_and_no_more() -> None:
    buckets = Buckets(2, clock=Clock())
    assert [buckets.take("a") for _ in range(3)] == [None, None, 30]
    buckets.give_back("a")
    assert [buckets.take("a") for _ in range(2)] == [None, 30]
    for _ in range(5):
        buckets.give_back("b")
    assert [buckets.take("b") for _ in range(3)] == [None, None, 30]


def test_what_is_remembered_is_bounded() -> None:
    buckets = Buckets(10)
    for number in range(3 * REMEMBERED):
        buckets.take(number)
    assert len(buckets) == REMEMBERED


def test_a_subscriber_is_one_address_or_one_network_of_ipv6() -> None:
    assert neighbourhood("192.0.2.1") == neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") != neighbourhood("2001:db8:0:1::1")
    assert neighbourhood("fe80::1%eth0") == neighbourhood("fe80::2")
    assert neighbourhood("testclient") == "testclient"


@asynccontextmanager
async def from_address(office: Office, address: str, proxies: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    """The same installation, called from there, with these proxies configured."""
    app = create_app(Settings(proxies=proxies), office.db, None, secrets=office.app.state.secrets)
    app.state.limits = office.app.state.limits
    transport = httpx2.ASGITransport(app=app, client=(address, 4000), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
        yield http


async def guesses(http: httpx2.AsyncClient, count: int, user: str = "admin", **more: str) -> list[int]:
    headers = {"Authorization": f"ApiKey {user}:wrong", **more}
    return [(await http.get(f"{API}/service/", headers=headers)).status_code for _ in range(count)]


async def test_guessing_keys_is_slowed_down_where_it_comes_from(office: Office, clock: Clock) -> None:
    async with from_address(office, "192.0.2.1") as guesser, from_address(office, "192.0.2.2") as other:
        assert await guesses(guesser, FAILED_LOGINS + 2) == [401] * FAILED_LOGINS + [429] * 2
        answer = await guesser.get(f"{API}/service/", headers={"Authorization": "ApiKey admin:wrong"})
        assert int(answer.headers["retry-after"]) == 6
        assert (await other.get(f"{API}/service/", headers={"Authorization": "ApiKey a:b"})).status_code == 401
        right = await office.hire(fresh("eve"))
        assert (await guesser.get(f"{API}/service/", headers=right)).status_code == 200
        clock.now += 6
        assert await guesses(guesser, 2) == [401, 429]


async def test_who_a_request_is_from_is_not_what_it_says(office: Office, clock: Clock) -> None:
    """`X-Forwarded-For` by itself gets nobody a new bucket, nor another's; from a configured proxy it is believed, and
    of it only what that proxy has added."""
    async with from_address(office, "192.0.2.1") as http:
        codes = [(await guesses(http, 1, **{"X-Forwarded-For": f"198.51.100.{n}"}))[0] for n in range(12)]
        assert codes == [401] * 10 + [429] * 2
    async with from_address(office, "10.0.0.1", proxies="10.0.0.0/30,10.9.0.0/16") as http:
        codes = [(await guesses(http, 1, **{"X-Forwarded-For": f"forged-{n}, 203.0.113.7, 10.9.1.1"}))[0]
                 for n in range(12)]  # fmt: skip
        assert codes == [401] * 10 + [429] * 2
        assert (await guesses(http, 1, **{"X-Forwarded-For": "203.0.113.8"}))[0] == 401
        assert (await guesses(http, 1, **{"X-Forwarded-For": "198.51.100.1, nonsense"}))[0] == 401
    async with from_address(office, "10.0.0.9", proxies="10.0.0.0/30") as http:
        assert (await guesses(http, 11, **{"X-Forwarded-For": "203.0.113.9"}))[-1] == 429


async def test_the_audit_log_has_the_address_that_counts(office: Office) -> None:
    right = await office.hire(fresh("eve"), "admin")
    said, body = {**right, "X-Forwarded-For": "203.0.113.5"}, {"image": "a"}
    async with from_address(office, "192.0.2.1") as http:
        assert (await http.post(f"{API}/service/", headers=said, json=body)).status_code == 201
    assert (await office.audit())[0]["ip"] == "192.0.2.1"
    async with from_address(office, "192.0.2.1", proxies="192.0.2.1") as http:
        assert (await http.post(f"{API}/service/", headers=said, json=body)).status_code == 201
    assert (await office.audit())[0]["ip"] == "203.0.113.5"


async def test_what_fails_behind_a_proxy_has_its_id(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.commands.services.create", fails)
    right = await office.hire(fresh("eve"))
    async with from_address(office, "192.0.2.1", proxies="192.0.2.1") as http:
        said = {**right, "X-Forwarded-For": "203.0.113.5"}
        answer = await http.post(f"{API}/service/", headers=said, json={"image": "a"})
    assert answer.status_code == 500
    assert (await office.audit())[0]["request_id"] == answer.json()["request_id"] != ""


async def test_a_users_password_is_not_guessed_from_many_addresses(office: Office, clock: Clock) -> None:
    name = fresh("eve")
    await office.hire(name)
    answer = await office.call("POST", f"{API}/auth/password/", json={"username": name, "password": "correct horse"})
    assert answer.status_code == 200
    for _ in range(FAILED_LOGINS - 3):
        office.app.state.limits.failed_users.take(name)
    for number in range(3):
        async with from_address(office, f"198.51.100.{number}") as http:
            assert (await http.get(f"{API}/auth/", auth=(name, "wrong"))).status_code == 401
    async with from_address(office, "203.0.113.1") as http:
        slow = await http.get(f"{API}/auth/", auth=(name, "wrong"))
        assert (slow.status_code, int(slow.headers["retry-after"])) == (429, 6)
        assert (await http.get(f"{API}/auth/", auth=(fresh("other"), "wrong"))).status_code == 401
        clock.now += 6
        assert (await http.get(f"{API}/auth/", auth=(name, "correct horse"))).status_code == 200


@pytest.mark.parametrize("by", ["address", "user name"])
async def test_guesses_at_the_same_time_are_as_many_as_one_after_the_other(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    checked: list[str] = []
    begin = threading.Event()

    def counted(_stored: str, password: str) -> bool:
        begin.wait(20)
        checked.append(password)
        return False

    monkeypatch.setattr(passwords, "fits", counted)
    limits, name, address = office.app.state.limits, fresh("eve"), "192.0.2.1"
    for _ in range(FAILED_LOGINS - 1):
        limits.failed.take(address) if by == "address" else limits.failed_users.take(name)

    async def guess(number: int) -> int:
        user, place = (fresh("x"), address) if by == "address" else (name, f"198.51.100.{number}")
        transport = httpx2.ASGITransport(app=office.app, client=(place, 4000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
            return (await http.get(f"{API}/auth/", auth=(user, f"guess-{number}"))).status_code

    guesses = [asyncio.create_task(guess(number)) for number in range(20)]
    waiting = lambda: office.app.state.passwords._waiting  # noqa: E731
    await eventually(lambda: waiting() + sum(each.done() for each in guesses) == 20, "all to be asked or refused")
    begin.set()
    codes = await asyncio.gather(*guesses)
    assert (len(checked), sorted(codes)) == (1, [401] + [429] * 19)


async def test_a_right_password_is_no_guess(office: Office, clock: Clock) -> None:
    name = fresh("eve")
    await office.hire(name)
    answer = await office.call("POST", f"{API}/auth/password/", json={"username": name, "password": "correct horse"})
    assert answer.status_code == 200
    limits = office.app.state.limits
    for _ in range(FAILED_LOGINS - 1):
        limits.failed.take("192.0.2.1")
        limits.failed_users.take(name)
    async with from_address(office, "192.0.2.1") as http:
        codes = [
            (await http.get(f"{API}/auth/", auth=(name, each))).status_code for each in ("correct horse", "a", "b")
        ]
    assert codes == [200, 401, 429]


async def test_many_passwords_at_once_are_not_all_waited_for(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MOST_WAITING", 3)
    async with from_address(office, "192.0.2.1") as http:
        found = await asyncio.gather(*(http.get(f"{API}/auth/", auth=(fresh("x"), "wrong")) for _ in range(8)))
    codes = [each.status_code for each in found]
    assert codes.count(401) >= 3
    assert {each.headers["retry-after"] for each in found if each.status_code == 429} == {"3"}
    assert (await office.call("GET", f"{API}/auth/")).status_code == 200


async def test_triggers_by_trigger_and_by_address(office: Office, clock: Clock) -> None:
    urls = []
    for _ in range(7):
        service = await office.create(name="hooked")
        urls.append((await office.call("POST", f"{service['resource_uri']}trigger/", json={})).json()["url"])
    async with from_address(office, "192.0.2.1") as one, from_address(office, "192.0.2.2") as other:
        flood = [await one.post(urls[0]) for _ in range(30)]
        assert [each.status_code for each in flood] == [409] * TRIGGER_CALLS + [429] * 20
        assert {each.headers.get("retry-after") for each in flood[TRIGGER_CALLS:]} == {"6"}
        codes = [(await one.post(url)).status_code for url in urls[1:] for _ in range(TRIGGER_CALLS)]
        assert codes.count(409) == CALLERS - 30
        assert codes[-1] == 429
        assert (await other.post(urls[-1])).status_code == 409
        # Addresses that are none are counted with wrong keys.
        strange = [
            (await other.post(f"{API}/service/{uuid4()}/trigger/{uuid4()}/call/")).status_code for _ in range(12)
        ]
        assert strange == [404] * 10 + [429] * 2


async def test_unknown_revoked_and_wrong_addresses_are_answered_alike(office: Office, clock: Clock) -> None:
    mine, second = await office.create(name="hooked"), await office.create(name="other")
    trigger = (await office.call("POST", f"{mine['resource_uri']}trigger/", json={})).json()
    gone = (await office.call("POST", f"{mine['resource_uri']}trigger/", json={})).json()
    assert (await office.call("DELETE", gone["resource_uri"])).status_code == 200
    answers = [
        await office.http.post(path)
        for path in (
            gone["url"],
            f"{second['resource_uri']}trigger/{trigger['uuid']}/call/",
            f"{mine['resource_uri']}trigger/{uuid4()}/call/",
            f"{API}/service/{uuid4()}/trigger/{trigger['uuid']}/call/",
        )
    ]
    assert {(each.status_code, each.text) for each in answers} == {(404, answers[0].text)}
    assert (await office.http.get(trigger["url"])).status_code == 405


async def test_a_key_makes_many_services_at_once_and_not_any_number(office: Office, clock: Clock) -> None:
    office.app.state.limits = Limits.of(Settings(limit_creates=40), clock)
    name = fresh("eve")
    who = await office.hire(name)
    body = {"image": "a"}
    codes = [(await office.call("POST", f"{API}/service/", headers=who, json=body)).status_code for _ in range(41)]
    assert codes == [201] * 40 + [429]
    refused = await office.call("POST", f"{API}/stack/", headers=who, json={"name": "s", "services": []})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    second = await office.key_of((await office.user_named(name))["uuid"])
    assert (await office.call("POST", f"{API}/service/", headers=header(name, second["key"]), json=body)).is_success
    assert (await office.call("GET", f"{API}/service/", headers=who)).status_code == 200
    assert Settings().limit_creates >= 200  # a client that restores an installation makes them one after the other
