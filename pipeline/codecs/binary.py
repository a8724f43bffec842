"""Avro's binary primitives, as fast as plain Python goes. Knows no schema; raises, never repairs.

Readers take `(data, position)` and return `(value, next position)`. They may run past the end of `data`: an
IndexError, or a position beyond its length, means that the record is truncated.
"""

from __future__ import annotations

import struct
from typing import Final

from pipeline.core.model import Scalar

LONG_MAX: Final = 2**63 - 1
LONG_MIN: Final = -(2**63)

_DOUBLE = struct.Struct("<d")
pack_double = _DOUBLE.pack
unpack_double = _DOUBLE.unpack_from


def _varint(unsigned: int) -> bytes:
    out = bytearray()
    while unsigned > 0x7F:
        out.append(unsigned & 0x7F | 0x80)
        unsigned >>= 7
    out.append(unsigned)
    return bytes(out)


#: Encodings of 0..8191, the common lengths and counts.
SMALL: Final = tuple(_varint(number << 1) for number in range(8192))
#: Fourteen bits at a time of a longer number, all with the continuation bit set.
_CHUNK: Final = tuple(bytes((bits & 0x7F | 0x80, bits >> 7 | 0x80)) for bits in range(16384))


def long_bytes(number: int) -> bytes:
    """Zigzag varint. Raises OverflowError past 64 bits, TypeError for anything but an int."""
    if 0 <= number < 8192:
        return SMALL[number]
    if not LONG_MIN <= number <= LONG_MAX:
        raise OverflowError(f"{number} does not fit 64 bits; send it as a string or a double")
    unsigned = (number << 1) ^ (number >> 63)
    out = b""
    while unsigned > 0x3FFF:
        out += _CHUNK[unsigned & 0x3FFF]
        unsigned >>= 14
    return out + _varint(unsigned)


def int_bytes(number: int) -> bytes:
    """As `long_bytes`. Raises OverflowError past 32 bits."""
    if not -0x8000_0000 <= number <= 0x7FFF_FFFF:
        raise OverflowError(f"{number} does not fit 32 bits")
    return long_bytes(number)


def string_bytes(text: str) -> bytes:
    """Length and UTF-8. Raises UnicodeEncodeError for lone surrogates, AttributeError for anything but a str."""
    encoded = text.encode()
    return long_bytes(len(encoded)) + encoded


def rest_of_long(data: bytes, position: int, first: int) -> tuple[int, int]:
    """The unsigned number whose first byte was `first` (128 or more) and whose second lies at `position`."""
    number = first & 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        if byte < 0x80:
            number |= byte << shift
            if shift == 63 and number > 0xFFFF_FFFF_FFFF_FFFF:
                raise ValueError("holds a number of more than 64 bits")
            return number, position
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise ValueError("holds a number of more than ten bytes")


def read_long(data: bytes, position: int) -> tuple[int, int]:
    number = data[position]
    position += 1
    if number > 0x7F:
        number, position = rest_of_long(data, position, number)
    return (number >> 1) ^ -(number & 1), position


def read_int(data: bytes, position: int) -> tuple[int, int]:
    """Raises ValueError where the number does not fit Avro's int."""
    number, position = read_long(data, position)
    if not -0x8000_0000 <= number <= 0x7FFF_FFFF:
        raise ValueError("holds a number of more than 32 bits")
    return number, position


def read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    size, position = read_long(data, position)
    if size < 0:
        raise ValueError("holds a negative length")
    end = position + size
    if end > len(data):
        raise IndexError
    return data[position:end], end


def read_string(data: bytes, position: int) -> tuple[str, int]:
    found, position = read_bytes(data, position)
    return found.decode(), position


def read_double(data: bytes, position: int) -> tuple[float, int]:
    """Raises IndexError where fewer than eight bytes are left."""
    if position + 8 > len(data):
        raise IndexError
    number: float = unpack_double(data, position)[0]
    return number, position + 8


def read_boolean(data: bytes, position: int) -> tuple[bool, int]:
    byte = data[position]
    if byte > 1:
        raise ValueError("holds neither true nor false where a boolean belongs")
    return byte == 1, position + 1


def read_block(data: bytes, position: int) -> tuple[int, int]:
    """How many items an array or map block holds; a writer may state the block's size in bytes, which is skipped."""
    first = data[position]
    if first < 0x80 and not first & 1:
        return first >> 1, position + 1
    count, position = read_long(data, position)
    if count < 0:
        _, position = read_long(data, position)
        return -count, position
    return count, position


def scalar_bytes(value: Scalar) -> bytes:
    """A value of the union null, boolean, long, double, string. Raises TypeError for any other type."""
    kind = type(value)
    if kind is str:
        encoded = value.encode()  # type: ignore[union-attr]
        size = len(encoded)
        return b"\x08" + (SMALL[size] if size < 8192 else long_bytes(size)) + encoded
    if value is None:
        return b"\x00"
    if kind is bool:
        return b"\x02\x01" if value else b"\x02\x00"
    if kind is int:
        return b"\x04" + long_bytes(value)  # type: ignore[arg-type]
    if kind is float:
        return b"\x06" + pack_double(value)
    if isinstance(value, str):
        return b"\x08" + string_bytes(str(value))
    raise TypeError(f"is a {kind.__name__}; use null, a boolean, a number or a string")


def read_scalar(data: bytes, position: int) -> tuple[Scalar, int]:
    branch = data[position]
    position += 1
    if branch == 8:
        size = data[position]
        if size & 0x81:
            return read_string(data, position)
        end = position + 1 + (size >> 1)
        return data[position + 1 : end].decode(), end
    if branch == 4:
        return read_long(data, position)
    if branch == 6:
        return read_double(data, position)
    if branch == 2:
        return read_boolean(data, position)
    if branch == 0:
        return None, position
    raise ValueError("holds a value that is neither null, boolean, long, double nor string")


def blob_bytes(value: bytes | None) -> bytes:
    """A value of the union null, bytes."""
    return b"\x00" if value is None else b"\x02" + long_bytes(len(value)) + value


def read_blob(data: bytes, position: int) -> tuple[bytes | None, int]:
    branch = data[position]
    position += 1
    if branch == 2:
        return read_bytes(data, position)
    if branch == 0:
        return None, position
    raise ValueError("holds a value that is neither null nor bytes")
