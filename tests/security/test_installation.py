"""What is installed: files and their modes, the database's role, TLS, what it depends on, and the linter's rules."""

from __future__ import annotations

import ast
import json
import re
import ssl
import stat
import tomllib
from pathlib import Path

import asyncpg
import pytest

from app import first_start
from app.cli import CommandError, sbom
from app.fleet.authority import open_authority
from app.lock import prepare_state_dir
from app.secretbox import KEY_FILE, SecretBox
from orchestrator.store.db import Database
from tests.admin.conftest import Office

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = [path for package in ("app", "agents", "domain", "orchestrator") for path in (ROOT / package).rglob("*.py")]
NEVER_CALLED = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.load", "marshal.loads"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_first_key_is_random_and_its_owners_alone(database_url: str, tmp_path: Path) -> None:
    db = await Database.open(database_url, size=2)
    try:
        await first_start.first_start(db, tmp_path / first_start.KEY_FILE)
        key = json.loads((tmp_path / first_start.KEY_FILE).read_text())["api_key"]
        assert len(bytes.fromhex(key)) == 32
        assert mode(tmp_path / first_start.KEY_FILE) == 0o600
        await first_start.first_start(db, tmp_path / "again.json")
        assert not (tmp_path / "again.json").exists()
    finally:
        await db.close()


def test_files_and_folders_are_the_owners(tmp_path: Path) -> None:
    state = tmp_path / "state"
    prepare_state_dir(state)
    SecretBox.open(state)
    assert (mode(state), mode(state / KEY_FILE)) == (0o700, 0o600)
    state.chmod(0o777)
    prepare_state_dir(state)
    assert mode(state) & 0o067 == 0


async def test_the_doors_tls_is_of_this_century(office: Office) -> None:
    authority = await open_authority(office.db, office.app.state.secrets)
    context = authority.server_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_the_databases_role_is_no_superuser(database_url: str) -> None:
    conn = await asyncpg.connect(database_url)
    try:
        row = await conn.fetchrow(
            "SELECT rolsuper, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
    finally:
        await conn.close()
    assert row is not None
    assert not any(row.values())


async def test_no_other_page_is_let_in(office: Office) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await office.call(method, "/api/v1/service/", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "set-cookie" not in answer.headers


def called(path: Path) -> set[str]:
    """The names of what a module calls, and `shell=` where it is said."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
            found |= {f"{each.arg}=" for each in node.keywords if each.arg == "shell"}
    return found


def test_the_linter_refuses_shells_statements_of_strings_and_the_like() -> None:
    """Its security rules are on for the product, but for three about argument lists; and nobody gets past them."""
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert {rule for rule in lint["ignore"] if rule.startswith("S")} == {"S603", "S607", "S404"}
    spared = {pattern for pattern, rules in lint["per-file-ignores"].items() if any(rule[0] == "S" for rule in rules)}
    assert spared == {"tests/**", "bench/**"}
    assert {path.name: bad for path in SOURCES if (bad := called(path) & (NEVER_CALLED | {"shell="}))} == {}
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    silenced = {rule for text in texts.values() for rule in re.findall(r"noqa: (S\d+)", text)}
    assert silenced <= {"S101", "S104", "S105", "S106", "S311", "S606", "S608"}
    with_statements = {path.parent.name for path, text in texts.items() if "noqa: S608" in text}
    assert with_statements <= {"store"}


def test_dependencies_are_few_and_locked_with_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    direct = PROJECT["project"]["dependencies"]
    locked: dict[str, list[str]] = {}
    for name in ("run.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        locked[name] = re.findall(r"(?m)^[a-z0-9][\w.\[\]-]*==", text)
        blocks = re.split(r"(?m)^(?=[a-z0-9][\w.\[\]-]*==)", text)[1:]
        assert [block[:60] for block in blocks if "--hash=sha256:" not in block] == []
    with capsys.disabled():
        counts = f"{len(locked['run.txt'])} locked to run and {len(locked['dev.txt'])} to develop"
        print(f"\n{len(direct)} direct dependencies, {counts}, all with hashes; NOT audited: no advisories to be had")
    assert len(direct) <= 30


def test_the_bill_of_materials_is_what_is_installed(tmp_path: Path) -> None:
    found = sbom.bill(sbom.LOCK)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found == sbom.bill(sbom.LOCK)
    refs = [part["bom-ref"] for part in found["components"]]
    assert found["dependencies"] == [{"ref": "tutela", "dependsOn": refs}]
    assert len(refs) == len(set(refs))
    locked = re.findall(r"(?m)^([\w.-]+)==(\S+) \\$", sbom.LOCK.read_text(encoding="utf-8"))
    assert len(locked) > 30
    assert {f"pkg:pypi/{name}@{version}" for name, version in locked} <= set(refs), "what is for every system"
    other = tmp_path / "run.txt"
    other.write_text("docker==0.0.1 \\\n    --hash=sha256:00\nnot-here==1 ; sys_platform == 'win32' \\\n")
    assert any(ref.startswith("pkg:generic/postgresql@") for ref in refs)
    with pytest.raises(CommandError, match=r"docker .* is installed, 0\.0\.1 is locked"):
        sbom.bill(other)
    other.write_text("not-here==1 \\\n    --hash=sha256:00\n")
    with pytest.raises(CommandError, match="not-here is locked and not installed"):
        sbom.bill(other)


def test_there_is_a_page_for_who_finds_something() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert re.search(r"[\w.]+@[\w.]+", page)
    for word in ("90 days", "supported", "privileged containers"):
        assert word in page
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / target).exists(), target
