"""Avro's arrays and maps in plain Python, for the generated readers and writers. See `binary` for how readers work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.codecs.binary import (
    SMALL,
    blob_bytes,
    long_bytes,
    pack_double,
    read_blob,
    read_block,
    read_double,
    read_scalar,
    read_string,
    scalar_bytes,
    string_bytes,
)
from pipeline.core.model import Scalar

Read = Callable[[bytes, int], tuple[Any, int]]


def write_map(out: bytearray, entries: dict[str, Any], to_bytes: Callable[[Any], bytes]) -> None:
    """In the entries' own order. Raises TypeError naming the entry that does not fit."""
    if entries:
        out += long_bytes(len(entries))
        for key, value in entries.items():
            encoded = key.encode()
            size = len(encoded)
            out += SMALL[size] if size < 8192 else long_bytes(size)
            out += encoded
            try:
                out += to_bytes(value)
            except (TypeError, OverflowError) as error:
                raise type(error)(f"[{key!r}] {error}") from None
    out += b"\0"


def write_map_of_scalars(out: bytearray, entries: dict[str, Scalar]) -> None:
    write_map(out, entries, scalar_bytes)


def write_map_of_strings(out: bytearray, entries: dict[str, str]) -> None:
    write_map(out, entries, string_bytes)


def write_map_of_doubles(out: bytearray, entries: dict[str, float]) -> None:
    write_map(out, entries, pack_double)


def write_map_of_blobs(out: bytearray, entries: dict[str, bytes | None]) -> None:
    write_map(out, entries, blob_bytes)


def read_map(data: bytes, position: int, read: Read) -> tuple[dict[str, Any], int]:
    entries: dict[str, Any] = {}
    count, position = read_block(data, position)
    while count:
        for _ in range(count):
            size = data[position]
            if size & 0x81:
                key, position = read_string(data, position)
            else:
                end = position + 1 + (size >> 1)
                key = data[position + 1 : end].decode()
                position = end
            entries[key], position = read(data, position)
        count, position = read_block(data, position)
    return entries, position


def read_map_of_scalars(data: bytes, position: int) -> tuple[dict[str, Scalar], int]:
    return read_map(data, position, read_scalar)


def read_map_of_strings(data: bytes, position: int) -> tuple[dict[str, str], int]:
    return read_map(data, position, read_string)


def read_map_of_doubles(data: bytes, position: int) -> tuple[dict[str, float], int]:
    return read_map(data, position, read_double)


def read_map_of_blobs(data: bytes, position: int) -> tuple[dict[str, bytes | None], int]:
    return read_map(data, position, read_blob)


def write_array(out: bytearray, items: Sequence[Any], write: Callable[[bytearray, Any], None]) -> None:
    if items:
        out += long_bytes(len(items))
        for item in items:
            write(out, item)
    out += b"\0"


def read_array(data: bytes, position: int, read: Read) -> tuple[list[Any], int]:
    items: list[Any] = []
    count, position = read_block(data, position)
    while count:
        for _ in range(count):
            item, position = read(data, position)
            items.append(item)
        count, position = read_block(data, position)
    return items, position


def write_strings(out: bytearray, items: Sequence[str]) -> None:
    if items:
        out += long_bytes(len(items))
        for item in items:
            out += string_bytes(item)
    out += b"\0"


def read_strings(data: bytes, position: int) -> tuple[list[str], int]:
    return read_array(data, position, read_string)
