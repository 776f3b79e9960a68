"""What commands take for the name of something that they change, and where the installation's secret comes from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.cli import CommandError, node
from app.cli.client import Client
from app.secretbox import SecretBox

NODES = [{"name": "web", "nickname": "web", "uuid": "c1d4e5f6-0000-4000-8000-000000000001"}]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(node, "listed", lambda *_: NODES)
    return Client("http://nobody", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["web", NODES[0]["uuid"], "c1d4e5f6"])
def test_a_node_is_found_by_its_name_and_by_enough_of_its_uuid(api: Any, name: str) -> None:
    assert node.find(api, name) == NODES[0]


@pytest.mark.parametrize("name", ["", "c", "c1", "c1d4e5f"])
def test_a_little_of_a_uuid_names_no_node(api: Any, name: str) -> None:
    """A node of the name c1 is gone, and another one's uuid begins so."""
    with pytest.raises(CommandError, match="no node is called"):
        node.find(api, name)


def test_of_several_that_start_at_once_all_have_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(SecretBox.open, [tmp_path] * 8))
    sealed = boxes[0].seal("x")
    assert {each.unseal(sealed) for each in boxes} == {"x"}
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]
    assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_none_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret-key").touch()
    with pytest.raises(ValueError, match=f"{tmp_path}/secret-key: .*a backup has"):
        SecretBox.open(tmp_path)
    with pytest.raises(ValueError, match="TUTELA_SECRET_KEY"):
        SecretBox.open(tmp_path, "short")
