"""What an image reference means on this node: the answer to the control plane's ImageRequest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agents.runtime.base import ContainerRuntime, Json, RuntimeFailed, RuntimeRefused
from domain.assignment import ImageRequest
from domain.image import ImagePort, Pull, ResolvedImage, parse, unusable
from domain.spec import Transport


async def resolve(runtime: ContainerRuntime, request: ImageRequest) -> ResolvedImage:
    """Look at the image, after a pull where one is asked for or the engine does not have it.

    An image that never came from a registry (built here) is used as it is when no registry has it. Raises
    RuntimeBusy, RuntimeRefused.
    """
    local = await _local(runtime, request.reference)
    if local is not None and request.pull is Pull.MISSING:
        return resolved(request.reference, local)
    try:
        await runtime.pull(request.reference, request.auth)
    except RuntimeFailed:
        if local is not None and not local.get("RepoDigests"):
            return resolved(request.reference, local)
        raise
    return resolved(request.reference, await runtime.image_inspect(request.reference))


async def _local(runtime: ContainerRuntime, reference: str) -> Json | None:
    try:
        return await runtime.image_inspect(reference)
    except RuntimeRefused as error:
        if error.code in {"image_missing", "not_found"}:
            return None
        raise


def resolved(reference: str, found: Json) -> ResolvedImage:
    """The image from the engine's JSON. Raises RuntimeRefused for one that says of itself what nobody can keep."""
    config = found.get("Config") or {}
    image = ResolvedImage(
        reference=reference,
        image_id=str(found["Id"]),
        digest=_digest(reference, found.get("RepoDigests") or []),
        env=tuple((name, value) for name, _, value in (str(each).partition("=") for each in config.get("Env") or ())),
        ports=tuple(
            ImagePort(protocol=Transport(protocol), port=number)
            for protocol, number in sorted(set(_ports(config.get("ExposedPorts") or ())))
        ),
        entrypoint=tuple(str(word) for word in config.get("Entrypoint") or ()),
        command=tuple(str(word) for word in config.get("Cmd") or ()),
        volumes=tuple(sorted(str(path) for path in config.get("Volumes") or ())),
    )
    why = unusable(image)
    if why is not None:
        raise RuntimeRefused(why, "image_unusable")
    return image


def _ports(texts: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Protocol and number of each, without those that no container can have: images say what they like."""
    for each in texts:
        number, _, protocol = str(each).partition("/")
        known = protocol in {"", "tcp", "udp"} and number.isascii() and number.isdigit() and len(number) < 6
        if known and 0 < int(number) < 65536:
            yield protocol or "tcp", int(number)


def _digest(reference: str, digests: list[str]) -> str | None:
    """The registry's digest under the name that was asked for, else under any."""
    parsed = parse(reference)
    names = {parsed.name, f"docker.io/{parsed.name}", f"docker.io/library/{parsed.name}"} if parsed else set()
    fitting = [each for each in digests if each.partition("@")[0] in names]
    return min(fitting or digests, default=None)
