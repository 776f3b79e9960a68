"""The application in process, seen by people who should not get further than they may: one for a file's tests."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from app.settings import Settings
from tests.admin.conftest import Office
from tests.api.client import application
from tests.harness.postgres import TestPostgres

_NUMBERS = itertools.count(1)


def fresh(name: str) -> str:
    """A name that no other test has."""
    return f"{name}{next(_NUMBERS)}"


@pytest.fixture(scope="module")
async def shared_office(postgres: TestPostgres) -> AsyncIterator[Office]:
    dsn = await postgres.fresh()
    async with application(dsn) as client:
        yield Office(client.db, client.http, client.app)
    await postgres.drop(dsn)


@pytest.fixture
def office(shared_office: Office) -> Iterator[Office]:
    """The installation; what a test changes of its settings ends with it."""
    yield shared_office
    shared_office.app.state.settings = Settings()
