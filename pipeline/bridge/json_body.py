"""A request's body: read within a limit, unpacked, and announced as JSON. What it says is read in `pipeline.ingest`."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from pipeline.bridge.problems import BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Problem
from pipeline.ingest.refusal import malformed

_DIGITS_MAX: Final = 19

#: To zlib: a gzip header and nothing else.
_GZIP: Final = 16 + zlib.MAX_WBITS

_JSON_SUFFIX: Final = re.compile(r"application/[^/]+\+json")


async def read(request: Request, limit_bytes: int, plain: bool = False) -> bytes:
    """The whole body, unpacked. Raises Problem for another media type or too many bytes, packed or unpacked, and
    NotJsonError for what cannot be unpacked.

    :param plain: whether it may come as text: browsers' beacons can say nothing else without asking first.
    """
    packed = _checked(request.headers, plain)
    body = await _received(request, limit_bytes)
    return _unpacked(body, limit_bytes) if packed else body.removeprefix(codecs.BOM_UTF8)


def _unpacked(body: bytes, limit_bytes: int) -> bytes:
    """Never more of it in memory than is taken."""
    try:
        unpacker = zlib.decompressobj(_GZIP)
        text = unpacker.decompress(body, limit_bytes + 1)
        if len(text) > limit_bytes:
            raise _too_large(limit_bytes)
        if not unpacker.eof or unpacker.unused_data:
            raise malformed("it is cut off, or more than one gzip stream")
    except zlib.error as error:
        raise malformed(f"as `Content-Encoding: gzip` it cannot be unpacked ({error})") from error
    return text.removeprefix(codecs.BOM_UTF8)


async def _received(request: Request, limit_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit():
        if int(announced[:_DIGITS_MAX]) > limit_bytes:
            raise _too_large(limit_bytes)
        return await request.body()
    read_bytes = bytearray()
    async for chunk in request.stream():
        read_bytes += chunk
        if len(read_bytes) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(read_bytes)


def _checked(headers: Mapping[str, str], plain: bool) -> bool:
    """Whether the body is packed."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    known = media_type == "application/json" or _JSON_SUFFIX.fullmatch(media_type) or (
        plain and media_type in ("", "text/plain"))
    if not known:
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON, with `Content-Type: application/json`.")
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body with `Content-Encoding: gzip`, or uncompressed.")
    return encoding in ("gzip", "x-gzip")


def _too_large(limit_bytes: int) -> Problem:
    # The rest of the body is not read: the connection cannot be used again.
    return Problem(BODY_TOO_LARGE, f"At most {limit_bytes} bytes are taken here.", headers={"Connection": "close"})
