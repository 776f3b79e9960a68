"""A user of a running server."""

from __future__ import annotations

import pytest

from tests.e2e.scenario import User
from tests.harness.server import TutelaProcess


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)
