"""Which test images a run classified correctly, as text in its record.

One bit for each image of the staged test set, in its order, packed as numpy packs them, compressed by
zlib and written in base64: some hundred characters for ten thousand images.
"""

import base64
import binascii
import zlib

import numpy as np


def pack(correct: np.ndarray) -> str:
    """The text of a boolean array of shape (images,)."""
    return base64.b64encode(zlib.compress(np.packbits(correct).tobytes(), 9)).decode("ascii")


def unpack(text: str, images: int) -> np.ndarray:
    """The boolean array, of shape (images,). Raises ValueError for text that is none of that many."""
    try:
        # No more than the bits need: what unpacks to more is not ours.
        packed = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), (images + 7) // 8 + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"it is not a packed bit mask ({error})") from None
    if len(packed) != (images + 7) // 8:
        raise ValueError(f"it has {len(packed)} bytes, and {images} images need {(images + 7) // 8}")
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=images).astype(bool)
