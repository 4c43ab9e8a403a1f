"""Convert the bytes of a text file from any usual encoding to UTF-8, and say which encoding it was."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap

import numpy as np
from charset_normalizer import from_bytes

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources.receipt import counted

OTHER_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp932", "gb18030", "big5", "cp949", "cp1253", "cp1254", "cp850"),
    *("cp1256", "cp1255", "cp852", "cp866", "mac_roman", "iso8859_2", "iso8859_5", "mac_cyrillic", "euc_jp"),
)
"""Encodings compared where a file is not UTF-8, most frequent first."""

COMMON = {
    "cp932": ("euc_jp", b"\xcf"),
    "euc_jp": ("euc_jp", b"\xcf"),
    "gb18030": ("gb2312", b"\xd7"),
    "big5": ("big5", b"\xc6"),
    "cp949": ("euc_kr", b"\xc8"),
}
"""Where the East Asian standards have their common characters: the standard's encoding, and the last first byte."""

STRAY_SHARE = 0.05
"""Up to this share of the multi-byte characters of a UTF-8 file may be damaged before it counts as another encoding."""
SAMPLE_BYTES = 1 << 16

Text = bytes | memoryview
"""A text in UTF-8; a view of it where it is a large file, which is never copied."""
BLOCK = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A text in UTF-8, the encoding of its file, and what a user should know about it."""

    text: Text
    encoding: str
    remarks: tuple[str, ...] = ()


def decode(raw: bytes | mmap, name: str, encoding: str | None = None) -> Decoded:
    """The text and its encoding, which is found unless given. `DataError` for binary data or a wrong encoding."""
    if raw[-1:] in (b"\0", b"\x1a") and not _wide(raw[: 1 << 16]):
        raw = raw[:].rstrip(b"\0\x1a")  # what fills up the last block of a file on some systems
    if encoding is not None:
        return _given(bytes(raw), name, encoding)
    wide = _wide(raw[: 1 << 16])
    if wide:
        try:
            return Decoded(text=raw[:].decode(wide).lstrip("\ufeff").encode("utf-8"), encoding=wide[:6])
        except UnicodeDecodeError:
            raise DataError(f"{name}: expected text, found damaged {wide[:6].upper()}; save it as UTF-8") from None
    if raw.find(b"\x1b") >= 0 and (mail := _with_escapes(raw[:])):
        return mail
    sample = raw[:4096]
    n_control = sum(1 for byte in sample if byte < 32 and byte not in b"\t\r\n\f\v")
    if n_control > 0.02 * len(sample) or raw.find(b"\0") >= 0:
        raise DataError(f"{name}: expected a table as text, found binary data; save it as CSV or Parquet")
    start = 0
    while raw[start : start + 3] == codecs.BOM_UTF8:
        start += 3
    if _is_utf8(raw):
        return _encoded_twice(raw) or Decoded(text=memoryview(raw)[start:], encoding="utf-8")
    content = raw[start:]
    return _nearly_utf8(content) or _guessed(content)


def _with_escapes(raw: bytes) -> Decoded | None:
    """The text of a file in the seven-bit encoding of Japanese mail, which escapes into other letters; else None."""
    try:
        return Decoded(text=raw.decode("iso2022_jp_ext").encode("utf-8"), encoding="iso2022_jp")
    except UnicodeDecodeError:
        return None


def _is_utf8(raw: bytes | mmap) -> bool:
    """Whether the bytes are UTF-8, a block at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for k in range(0, len(raw), BLOCK):
            decoder.decode(raw[k : k + BLOCK], final=k + BLOCK >= len(raw))
    except UnicodeDecodeError:
        return False
    return True


def _encoded_twice(raw: bytes | mmap) -> Decoded | None:
    """The text of a file whose UTF-8 was taken for cp1252 and written as UTF-8 again ("MÃ¼ller"); else None."""
    # Looking for one byte is ten times as fast as looking for a pattern.
    if raw.find(b"\xc3") < 0 or not re.search(rb"\xc3[\x82-\xb4][\xc2-\xc6\xcb\xe2]", raw):
        return None
    text, remark = once(raw[:].decode("utf-8").lstrip("\ufeff"))
    return Decoded(text=text.encode("utf-8"), encoding="utf-8", remarks=(remark,)) if remark else None


def once(text: str) -> tuple[str, str]:
    """A text as it was meant before some of its letters were encoded twice, and a remark; "" if none were."""
    meant = re.sub("[^\x00-\x7f]+", _letters_once, text)
    if meant == text:
        return text, ""
    changed = [line for before, line in zip(text.split("\n"), meant.split("\n"), strict=True) if before != line]
    words = _words("\n".join(changed))
    return meant, f"The text was encoded twice by the program that wrote it, and is read as it was meant: {words}."


def _letters_once(match: re.Match[str]) -> str:
    """Letters outside ASCII as they were meant, if they were encoded twice."""
    letters = re.sub("â€$", "â€\x9d", match.group())  # many programs lose the last byte of ”
    try:
        # Five bytes mean nothing in cp1252; programs keep them as they are.
        return b"".join(c.encode("latin-1" if "\x80" <= c <= "\x9f" else "cp1252") for c in letters).decode("utf-8")
    except UnicodeError:
        return match.group()


def _given(raw: bytes, name: str, encoding: str) -> Decoded:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ConfigError(
            f"--encoding {encoding}: unknown; usual ones are utf-8, {', '.join(OTHER_ENCODINGS)}"
        ) from None
    try:
        text = raw.decode(encoding).lstrip("\ufeff")
    except UnicodeError as error:
        line = raw.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise DataError(f"{name} line {line}: expected text in {encoding}, found bytes that are none") from None
    return Decoded(text=text.encode("utf-8"), encoding=encoding)


def _nearly_utf8(raw: bytes) -> Decoded | None:
    """A UTF-8 file with a few stray bytes, which are read as cp1252; None if it is another encoding."""
    damaged = raw.decode("utf-8", errors="surrogateescape")
    stray = re.findall("[\udc80-\udcff]", damaged)
    whole = len(re.findall(r"[^\x00-\x7f\udc80-\udcff]", damaged))
    if len(stray) > STRAY_SHARE * whole:
        return None
    first = damaged.index(stray[0])
    line = damaged.count("\n", 0, first) + 1
    start, end = damaged.rfind("\n", 0, first) + 1, damaged.find("\n", first)
    repaired = re.sub(
        "[\udc80-\udcff]", lambda m: m.group().encode("utf-8", "surrogateescape").decode("cp1252", "replace"), damaged
    )
    sample = repaired[start : end if end > 0 else None][:60].strip()
    remark = (
        f"{counted(len(stray), 'byte')} not in UTF-8, as the others are, the first in line {line}; read as Western "
        f"European there: {sample!r}."
    )
    return Decoded(text=repaired.encode("utf-8"), encoding="utf-8", remarks=(remark,))


def _guessed(raw: bytes) -> Decoded:
    """The most plausible other encoding: words of letters that belong together, in a script that occurs."""
    lines = [line for line in raw.split(b"\n") if not line.isascii()]
    sample = b"\n".join(lines)
    if len(sample) > SAMPLE_BYTES:
        sample = sample[:SAMPLE_BYTES]
        sample = sample[: sample.rindex(b"\n")] if b"\n" in sample else sample
    scores = {encoding: _plausibility(sample, encoding) for encoding in OTHER_ENCODINGS}
    best = max(scores, key=lambda encoding: scores[encoding])
    detected = from_bytes(sample, cp_isolation=list(OTHER_ENCODINGS)).best()
    # The detector knows the frequencies of languages; it decides among those that are equally plausible as letters,
    # and give other ones.
    if (
        detected is not None
        and scores.get(detected.encoding, -1) >= scores[best]
        and sample.decode(detected.encoding) != sample.decode(best)
    ):
        best = detected.encoding
    for encoding in (best, "latin-1"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        remark = (
            f"The file is not UTF-8; its encoding was taken for {encoding}: {_words(text)}. If these words are wrong, "
            f"choose another encoding (--encoding{_as_plausible(raw, text, scores)})."
        )
        return Decoded(text=text.encode("utf-8"), encoding=encoding, remarks=(remark,))
    raise AssertionError("latin-1 decodes anything")


def _as_plausible(raw: bytes, text: str, scores: Mapping[str, float]) -> str:
    """The encodings that give other words of letters which are as plausible, with these words."""
    found = {_words(text): ""}
    for encoding in (e for e, score in scores.items() if score >= max(*scores.values(), 0.5)):
        found.setdefault(_words(raw.decode(encoding, "replace")), encoding)
    return "; ".join(f" {encoding}: {words}" for words, encoding in list(found.items())[1:4])


def _plausibility(sample: bytes, encoding: str) -> float:
    """Share of the non-ASCII characters that stand where letters stand; -1 if the encoding cannot be.

    Right ones give words: letters of one script side by side, a capital only at the beginning. Wrong ones give
    symbols within words, capitals after small letters, or rare characters.
    """
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    good = total = 0.0
    for match in re.finditer(r"[^\x00-\x7f]", text):
        here, before = match.group(), text[match.start() - 1 : match.start()]
        after = text[match.end() : match.end() + 1]
        total += 1
        if "\x7f" <= here <= "\x9f" or "\ue000" <= here <= "\uf8ff":
            return -1.0
        beside_letter = before.isalpha() or after.isalpha()
        if not here.isalpha():
            # Signs such as a currency or a dash stand alone, hardly ever inside a word.
            good += -1.0 if beside_letter and here not in "’‘“”–—…®™°" else 0.5
            continue
        good += _letter_score(here, before, after, encoding)
    return good / total if total else 0.0


def _letter_score(here: str, before: str, after: str, encoding: str) -> float:
    scripts = {_script(c) for c in (before, here, after) if c.isalpha()}
    if len(scripts) > 1:
        return -0.5
    if here.isupper() and before.islower():
        return -0.5
    if here in "ךםןףץ" and before.isalpha():  # Hebrew letters that only end a word
        return -0.5 if after.isalpha() else 1.2
    if _script(here) == "CJK":
        return 1.0 if _is_common(here, encoding) else 0.3
    if not (before.isalpha() or after.isalpha()):
        return 0.2
    return 1.0 if here in _USUAL_LETTERS or _script(here) != "LATIN" else 0.6


def _is_common(letter: str, encoding: str) -> bool:
    """Whether an East Asian letter is one that the encoding's language uses daily; kana is Japanese alone."""
    if "\u3040" <= letter <= "\u30ff":
        return encoding in ("cp932", "euc_jp")
    standard, last = COMMON.get(encoding, ("ascii", b""))
    code = letter.encode(standard, "ignore")  # EUC-KR spells out the syllables that it has no code of two bytes for
    return len(code) == 2 and code[:1] <= last


_USUAL_LETTERS = frozenset("äöüßÄÖÜéèêëàâçîïôûùœÉÈÇñÑáíóúÁÍÓÚãõåøæÅØÆąćęłńśźżĄĆĘŁŃŚŹŻčďěňřšťůýžČĎŘŠŤŽőűăîşţğıİĞŞ")


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return "CJK" if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL")) else name.split(" ")[0]


def _words(text: str) -> str:
    """Up to three words with letters outside ASCII."""
    words = re.findall(r"[^\s,;|\t\"]*[^\x00-\x7f][^\s,;|\t\"]*", text[:1_000_000])
    return ", ".join(dict.fromkeys(word[:20] for word in words[:3]))


def _wide(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by its byte order mark, or by zero bytes at every second place (mostly Latin text)."""
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
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
