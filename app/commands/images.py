"""Register images with the credentials of their registries (spec 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from app.commands.recording import recorded
from app.commands.services import Context, record_refusal, refusals_recorded
from app.registries import check_login
from app.secretbox import SecretBox
from domain.errors import Invalid
from domain.registry import RegisteredImage, RegistryAuth
from orchestrator.ids import new_id
from orchestrator.store import images

IMAGES_URI = "/api/v1/image/"
NO_BUILDS = "builds are not available on this installation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user says of an image; None: nothing. An empty `username` takes the credentials away."""

    name: str
    username: str | None
    password: str | None = field(repr=False)
    description: str | None


def image_uri(name: str) -> str:
    """The resource path of an image."""
    return f"{IMAGES_URI}{name}/"


async def register(context: Context, secrets: SecretBox, read: Callable[[], Wanted]) -> str:
    """A new image, after its registry took the credentials; returns its name. Raises Invalid, Conflict."""
    async with refusals_recorded(context, "Image Create", None, IMAGES_URI):
        wanted = read()
        auth = await _checked(wanted, None)
    async with recorded(context, "Image Create", IMAGES_URI) as work:
        image = RegisteredImage(id=new_id(), account_id=context.account.id, name=wanted.name)
        await images.insert(work.conn, _with(image, wanted, auth, secrets))
        work.object_uri = image_uri(wanted.name)
    return wanted.name


async def update(context: Context, secrets: SecretBox, name: str, read: Callable[[], Wanted]) -> None:
    """Change description and credentials. Raises NotFound, Invalid."""
    async with context.db.read() as conn:
        present = await images.get(conn, context.account.id, name)
    async with refusals_recorded(context, "Image Update", None, image_uri(name)):
        wanted = read()
        auth = await _checked(wanted, present.username)
    async with recorded(context, "Image Update", image_uri(name)) as work:
        image = await images.get(work.conn, context.account.id, name, lock=True)
        await images.save(work.conn, _with(image, wanted, auth, secrets))


async def delete(context: Context, name: str) -> None:
    """The image is no longer registered; services that run it are not touched. Raises NotFound."""
    async with recorded(context, "Image Delete", image_uri(name)) as work:
        image = await images.get(work.conn, context.account.id, name, lock=True)
        await images.delete(work.conn, image.id)


async def refuse_build(context: Context, name: str) -> None:
    """Raises Invalid, and records that."""
    await record_refusal(context, "Image Build", NO_BUILDS, None, image_uri(name))
    raise Invalid({"build": NO_BUILDS})


async def _checked(wanted: Wanted, present: str | None) -> RegistryAuth | None:
    """The new credentials, None when there are none; the registry has taken them. Raises Invalid."""
    username = wanted.username if wanted.username is not None else present
    if not wanted.password:
        if wanted.username and wanted.username != present:
            raise Invalid({"password": "is required with a username"})
        return None
    if not username:
        raise Invalid({"username": "is required with a password"})
    auth = RegistryAuth(username=username, password=wanted.password)
    await check_login(wanted.name, auth)
    return auth


def _with(image: RegisteredImage, wanted: Wanted, auth: RegistryAuth | None, secrets: SecretBox) -> RegisteredImage:
    if wanted.description is not None:
        image = replace(image, description=wanted.description)
    if auth is not None:
        return replace(image, username=auth.username, password=secrets.seal(auth.password))
    return replace(image, username=None, password=None) if wanted.username == "" else image
