"""/api/v1/image/ (spec 4.3). A name has slashes, and the port of its registry: everything up to the last `/tag/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from app.api.asking import asked
from app.api.deps import Caller, command, database
from app.api.responses import nothing, reply
from app.api.routing import Operation
from app.commands import images as commands
from app.commands.images import IMAGES_URI, NO_BUILDS, Wanted, image_uri
from app.wire.lists import IMAGES, envelope, read_query
from app.wire.resource_input import read_image
from app.wire.resource_output import image_out, image_tag_out
from domain.errors import Invalid, NotFound
from domain.image import parse
from orchestrator.store import images


class ImageName(Convertor[str]):
    """All up to the last `/tag/<tag>/`, `/tag/<tag>/build/`, `/buildsetting/`, or the end; the longest rest wins."""

    regex = r"(?:(?!/tag/[^/]+/(?:build/)?$|/buildsetting/).)+"

    def convert(self, value: str) -> str:
        """The text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """The text as it is."""
        return value


register_url_convertor("image", ImageName())
router = APIRouter(prefix="/api/v1/image", route_class=Operation)


@router.get("/")
async def list_images(request: Request, caller: Caller) -> Response:
    """The images that the account registered."""
    params = request.query_params.multi_items()
    query = read_query(params, IMAGES)
    async with database(request).read() as conn:
        found, total = await images.page(conn, caller.id, query.filters, query.limit, query.offset)
        used = await images.used_tags(conn, caller.id, [image.name for image in found])
    objects = [image_out(image, used_tags=used[image.name]) for image in found]
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.post("/")
async def create_image(request: Request, caller: Caller) -> Response:
    """Register an image; with credentials, once its registry has taken them."""
    body, context = await asked(request, caller, "Image Create", IMAGES_URI)
    name = await commands.register(context, request.app.state.secrets, _read(body, None))
    return await _one(request, caller, name, 201)


@router.get("/{name:image}/buildsetting/")
@router.get("/{name:image}/buildsetting/{setting:path}/")
async def get_build_setting(request: Request, _caller: Caller, name: str, setting: str = "") -> Response:
    """Refused: nothing is built here."""
    raise Invalid({"build": NO_BUILDS})


@router.post("/{name:image}/buildsetting/")
@router.post("/{name:image}/buildsetting/{setting:path}/")
async def create_build_setting(request: Request, caller: Caller, name: str, setting: str = "") -> None:
    """Refused: nothing is built here."""
    await commands.refuse_build(command(request, caller, None), name)


@router.post("/{name:image}/tag/{tag}/build/")
async def build_image(request: Request, caller: Caller, name: str, tag: str) -> None:
    """Refused: nothing is built here."""
    await commands.refuse_build(command(request, caller, None), name)


@router.get("/{name:image}/tag/{tag}/")
async def get_image_tag(request: Request, caller: Caller, name: str, tag: str) -> Response:
    """One tag, or digest, of any image; what is in it is known when a service has run it."""
    reference = parse(f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}")
    if reference is None:
        raise NotFound(f"{name[:200]}:{tag[:128]} is no image reference")
    async with database(request).read() as conn:
        found = await images.resolved(conn, caller.id, str(reference))
    return reply(request, image_tag_out(reference, found))


@router.get("/{name:image}/")
async def get_image(request: Request, caller: Caller, name: str) -> Response:
    """One registered image."""
    return await _one(request, caller, name, 200)


@router.patch("/{name:image}/")
async def update_image(request: Request, caller: Caller, name: str) -> Response:
    """Change description or credentials."""
    body, context = await asked(request, caller, "Image Update", image_uri(name))
    await commands.update(context, request.app.state.secrets, name, _read(body, name))
    return await _one(request, caller, name, 200)


@router.delete("/{name:image}/")
async def delete_image(request: Request, caller: Caller, name: str) -> Response:
    """Forget the image and its credentials; services that run it are not touched."""
    await commands.delete(command(request, caller, None), name)
    return nothing(request)


def _read(body: Any, name: str | None) -> Callable[[], Wanted]:
    def read() -> Wanted:
        given = read_image(body, name)
        return Wanted(name=given.name, username=given.username, password=given.password, description=given.description)

    return read


async def _one(request: Request, caller: Caller, name: str, status: int) -> Response:
    async with database(request).read() as conn:
        image = await images.get(conn, caller.id, name)
        used = await images.used_tags(conn, caller.id, [name])
    return reply(request, image_out(image, used_tags=used[name]), status)
