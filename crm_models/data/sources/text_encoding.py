"""Convert the bytes of a text file from any usual encoding to UTF-8."""

from __future__ import annotations

import numpy as np

from crm_models.core.errors import DataError

ENCODINGS = ("utf-8", "cp1252", "latin-1")
"""Tried in this order; the last one decodes anything."""


def as_utf8(raw: bytes, name: str) -> bytes:
    """The text in UTF-8 without a byte order mark. `DataError` for binary data."""
    utf16 = _utf16(raw)
    if utf16:
        try:
            raw = raw.decode(utf16).lstrip("\ufeff").encode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{name}: expected text, found damaged UTF-16; save it as UTF-8") from None
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    sample = raw[:4096]
    n_control = sum(1 for byte in sample if byte < 32 and byte not in b"\t\r\n\f\v")
    if n_control > 0.02 * len(sample) or b"\0" in raw:
        raise DataError(f"{name}: expected a table as text, found binary data; save it as CSV or Parquet")
    for encoding in ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return raw if encoding == "utf-8" else text.encode("utf-8")
    raise AssertionError("latin-1 decodes anything")


def _utf16(raw: bytes) -> str | None:
    """The UTF-16 variant, detected by byte order mark, or by zero bytes at every second place (mostly Latin text)."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    sample = np.frombuffer(raw[: min(len(raw), 4096) // 2 * 2], np.uint8).reshape(-1, 2)
    if len(sample):
        zeros = (sample == 0).mean(axis=0)
        if zeros[1] > 0.8 and zeros[0] < 0.05:
            return "utf-16-le"
        if zeros[0] > 0.8 and zeros[1] < 0.05:
            return "utf-16-be"
    return None
