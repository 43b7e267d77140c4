"""Reading a request and writing an answer on raw ASGI, under limits of size and time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import orjson

from carrara.inference.failures import MalformedBody
from carrara.kernel.errors import TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]

JSON = b"application/json"
BODY_SECONDS = 30.0


class ClientLeft(Exception):  # noqa: N818
    """The connection closed before the request was whole: there is nobody to answer."""


def headers_of(scope: Scope) -> Headers:
    """By lower-case name; of a name that is there twice, the first."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


async def read_body(headers: Headers, receive: Receive, max_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body. `TooLarge` before more than `max_bytes` are read; `MalformedBody(body_too_slow)` after a time."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError as error:
        raise MalformedBody(f"the body did not arrive within {seconds:g} s", code="body_too_slow") from error


async def send_json(send: Send, status: int, body: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    await send_bytes(send, status, orjson.dumps(body), JSON, headers)


async def send_bytes(
    send: Send, status: int, body: bytes, media_type: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    start = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body has more than {max_bytes} bytes; send fewer rows at a time", code="body_too_large", limit=max_bytes
    )
