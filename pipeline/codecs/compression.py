"""Compression of what is encrypted next: encrypted bytes do not get smaller, and state repeats itself a lot.

One byte says how the rest is kept: as it is, or as an LZ4 block after its size (four bytes, little endian). LZ4, as it
costs a tenth of what the encryption and the network save (docs/adr/0019-compressed-before-encryption.md).
"""

from __future__ import annotations

from typing import Final

import cramjam

__all__ = ["CompressionError", "compressed", "decompressed", "plain"]

_PLAIN: Final = b"\x00"
_LZ4: Final = b"\x01"

#: Below this there is too little that repeats itself.
_BYTES_MIN: Final = 1_024

_compress = cramjam.lz4.compress_block
_decompress = cramjam.lz4.decompress_block


class CompressionError(ValueError):
    """Bytes that are kept in none of the known ways."""


def compressed(data: bytes) -> bytes:
    """The data as it is kept, at most one byte longer. The same data always gives the same bytes."""
    if len(data) >= _BYTES_MIN:
        smaller = bytes(_compress(data))
        if len(smaller) < len(data):
            return _LZ4 + smaller
    return plain(data)


def plain(data: bytes) -> bytes:
    """The data as it is kept without compression."""
    return _PLAIN + data


def decompressed(kept: bytes) -> bytes:
    """The data again. Raises CompressionError.

    Only for bytes that were authenticated before: their size is believed.
    """
    mark = kept[:1]
    if mark == _PLAIN:
        return kept[1:]
    if mark != _LZ4:
        raise CompressionError(f"kept in the way {mark.hex() or '(none)'}, which this version does not know")
    try:
        return bytes(_decompress(memoryview(kept)[1:]))
    except cramjam.DecompressionError as error:
        raise CompressionError(f"not an LZ4 block: {error}") from error
