"""Volumes, triggers, tags, images and registries as the API shows them (spec 4.3, 4.4, 4.7, 4.10, 4.11)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from app.wire.scalars import uri
from domain.image import Reference, ResolvedImage
from domain.registry import HUB, ImageState, RegisteredImage, is_local, registry_of
from domain.trigger import Trigger
from domain.volume import Volume, VolumeGroup


def volume_out(volume: Volume) -> dict[str, Any]:
    """A volume. The CLI splits `node` and `volume_group`, so they are never null."""
    return {
        "uuid": str(volume.id),
        "resource_uri": uri("volume", volume.id),
        "node": uri("node", volume.node_id),
        "volume_group": uri("volumegroup", volume.group_id),
        "containers": [uri("container", each) for each in volume.containers],
        "state": volume.state.value,
    }


def volume_group_out(group: VolumeGroup) -> dict[str, Any]:
    """A volume group."""
    return {
        "uuid": str(group.id),
        "resource_uri": uri("volumegroup", group.id),
        "name": group.name,
        "services": [uri("service", group.service_id)],
        "volumes": [uri("volume", each) for each in group.volumes],
        "state": group.state.value,
    }


def trigger_out(trigger: Trigger) -> dict[str, Any]:
    """A trigger; `url` is to be called, without credentials."""
    path = f"{uri('service', trigger.service_id)}trigger/{trigger.id}/"
    return {
        "uuid": str(trigger.id),
        "resource_uri": path,
        "name": trigger.name,
        "operation": trigger.operation.value,
        "url": f"{path}call/",
    }


def tag_out(name: str) -> dict[str, Any]:
    """A tag; all of them are the users' own."""
    return {"name": name, "origin": "user"}


def tags_out(names: Iterable[str]) -> list[dict[str, Any]]:
    """Tags of one object."""
    return [{"name": name} for name in names]


def registry_out(host: str) -> dict[str, Any]:
    """A registry that images of the account come from."""
    return {
        "uuid": str(UUID(bytes=uuid5(NAMESPACE_URL, host).bytes, version=4)),
        "resource_uri": uri("registry", host),
        "name": "Docker Hub" if host == HUB else host,
        "host": host,
        "icon_url": "",
        "is_ssl": not is_local(host),
        "is_tutum_registry": False,
    }


def image_out(image: RegisteredImage, *, used_tags: Iterable[str]) -> dict[str, Any]:
    """A registered image; its password is never shown. `used_tags`: those that live services run."""
    tags = sorted(used_tags)
    return {
        "name": image.name,
        "resource_uri": uri("image", image.name),
        "description": image.description,
        "registry": uri("registry", registry_of(image.name)),
        "is_private_image": image.username is not None,
        "jumpstart": False,
        "in_use": bool(tags),
        "public_url": "",
        "icon_url": "",
        "categories": [],
        "star_count": 0,
        "state": (ImageState.SUCCESS if tags else ImageState.EMPTY).value,
        "last_build_date": None,
        "tags": [f"{uri('image', image.name)}tag/{tag}/" for tag in tags],
        "build_source": None,
    }


def image_tag_out(reference: Reference, found: ResolvedImage | None) -> dict[str, Any]:
    """A tag of an image; `layer` is what it was when a service last looked it up, null when none did."""
    tag = reference.tag or reference.digest or ""
    path = f"{uri('image', reference.name)}tag/{tag}/"
    return {
        "name": tag,
        "full_name": str(reference),
        "image": uri("image", reference.name),
        "resource_uri": path,
        "state": (ImageState.EMPTY if found is None else ImageState.SUCCESS).value,
        "buildable": False,
        "layer": None if found is None else _layer(path, found),
    }


def _layer(path: str, found: ResolvedImage) -> dict[str, Any]:
    return {
        "resource_uri": path,
        "docker_id": found.image_id,
        "author": "",
        "creation": None,
        "entrypoint": shlex.join(found.entrypoint),
        "run_command": shlex.join(found.command),
        "envvars": [{"key": key, "value": value} for key, value in found.env],
        "labels": [],
        "ports": [{"port": each.port, "protocol": each.protocol.value} for each in found.ports],
        "volumes": [{"container_path": path} for path in found.volumes],
    }
