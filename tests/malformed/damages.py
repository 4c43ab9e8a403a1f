"""What happens to exports on their way: one function or table entry for each damage, by its kind."""

from __future__ import annotations

import csv
import re
import tomllib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.malformed.exports import CITIES, Export, plain

Damage = Callable[[Export, np.random.Generator], str]
"""Changes an export, and says how."""

SPELLINGS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("spellings.toml").read_text("utf-8"))
MONTHS = {language: names.split() for language, names in SPELLINGS["months"].items()}

NUMBERS: dict[str, Callable[[float], str]] = {
    "german": lambda v: f"{v:,.2f}".translate(str.maketrans(",.", ".,")),
    "german whole": lambda v: f"{v:,.0f}".replace(",", "."),
    "swiss": lambda v: f"{v:,.2f}".replace(",", "'"),
    "french": lambda v: f"{v:,.2f}".replace(",", "\u202f").replace(".", ","),
    "spaced": lambda v: f"{v:,.2f}".replace(",", " "),
    "english": lambda v: f"{v:,.2f}",
    "english whole": lambda v: f"{v:,.0f}",
    "decimal comma": lambda v: f"{v:.2f}".replace(".", ","),
    "euro behind": lambda v: f"{v:,.2f} €".translate(str.maketrans(",.", ".,")),
    "dollar before": lambda v: f"${v:,.2f}",
    "code before": lambda v: f"EUR {v:.2f}",
    "plus": lambda v: f"+{v:.2f}",
    "exponent": lambda v: f"{v:.6E}",
    "apostrophe": lambda v: f"'{v:.2f}",
    "formula text": lambda v: f'="{v:.2f}"',
    "full width": lambda v: f"{v:.2f}".translate({48 + k: 0xFF10 + k for k in range(10)}),
    "dash cents": lambda v: f"{v:.0f},-",
    "unit": lambda v: f"{v:.2f} kg",
    "thousands": lambda v: f"{v / 1000:.5f}k",
    "zeros before": lambda v: f"{v:09.2f}",
    "zeros behind": lambda v: f"{v:.4f}",
    "pounds": lambda v: f"£{v:,.2f}",
    "rubles": lambda v: f"{v:,.2f} ₽".replace(",", " ").replace(".", ","),
    "indian": lambda v: re.sub(r"(?<=[0-9])(?=(?:[0-9]{2})*[0-9]{3}\\.)", ",", f"{v:.2f}"),
}
WHOLE = ("german whole", "english whole", "dash cents")

NEGATIVES: dict[str, Callable[[float], str]] = {
    "parentheses": lambda v: f"({v:.2f})",
    "minus behind": lambda v: f"{v:.2f}-",
    "unicode minus": lambda v: f"\u2212{v:.2f}",
    "minus and dollar": lambda v: f"-${v:,.2f}",
    "dollar and minus": lambda v: f"$-{v:,.2f}",
    "parentheses and dollar": lambda v: f"(${v:,.2f})",
    "spaced minus": lambda v: f"- {v:.2f}",
    "red": lambda v: f"{v:.2f} CR",
}

IDS: dict[str, Callable[[str], str]] = {
    "plain digits": lambda t: t[1:].lstrip("0") or "9999",
    "zeros": lambda t: f"00{t[1:]}",
    "float": lambda t: f"{t[1:]}.0",
    "float with comma": lambda t: f"{t[1:]},0",
    "two decimals": lambda t: f"17{t[1:]}.00",
    "thousands": lambda t: f"17,{t[2:]}",
    "points": lambda t: f"17.{t[2:]}",
    "formula text": lambda t: f'="00{t[1:]}"',
    "apostrophe": lambda t: f"'00{t[1:]}",
    "blanks": lambda t: f"  {t}\t",
    "no-break": lambda t: f"{t}\u00a0",
    "mail": lambda t: f"Ann.{t}@Example.com",
    "guid": lambda t: f"{{3f2b{t[1:]}-0000-4000-8000-0000000{t[1:]}}}",
    "phone": lambda t: f"+49 151 {t[1:]}",
    "long": lambda t: f"1234567890123{t[1:]}1",
    "slash": lambda t: f"2024/{t[1:]}",
    "dated": lambda t: f"2024-01-{t[3:]}x{t[1:]}",
    "space within": lambda t: f"K {t[1:]}",
    "hash": lambda t: f"#{t[1:]}",
    "comma": lambda t: f"Smith, {t[1:]}",
    "quotes": lambda t: f'"{t}"',
    "equals": lambda t: f"={t}",
    "full width": lambda t: t.translate({48 + k: 0xFF10 + k for k in range(10)}),
}
CUT_IDS: dict[str, Callable[[str], str]] = {
    "exponent": lambda t: "1.23457E+15",
    "exponent with comma": lambda t: f"1,2345{t[-1:]}E+15",
    "zeros behind": lambda t: f"123456789012{t[-3:]}000",
}

DAY_0 = pd.Timestamp("1899-12-30")


def _ordinal(d: pd.Timestamp) -> str:
    ending = "th" if d.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(d.day % 10, "th")
    return f"{d:%B} {d.day}{ending}, {d.year}"


def _in(zone: str, how: str) -> Callable[[pd.Timestamp], str]:
    return lambda d: f"{d.tz_localize('UTC').tz_convert(zone):{how}}"


DATES: dict[str, str | Callable[[pd.Timestamp], str]] = {
    **SPELLINGS["dates"],
    "oracle time": lambda d: f"{d:%d-%b-%y} 12.00.00.000000 AM".upper(),
    "upper": lambda d: f"{d:%d-%b-%Y}".upper(),
    "unpadded": lambda d: f"{d.month}/{d.day}/{d.year}",
    "unpadded german": lambda d: f"{d.day}.{d.month}.{d.year}",
    "unpadded iso": lambda d: f"{d.year}-{d.month}-{d.day}",
    "serial": lambda d: str((d - DAY_0).days),
    "seconds": lambda d: str(int(d.timestamp())),
    "milliseconds": lambda d: str(int(d.timestamp() * 1000)),
    "german words": lambda d: f"{d.day}. {MONTHS['german'][d.month - 1]} {d.year}",
    "french words": lambda d: f"{d.day} {MONTHS['french'][d.month - 1]} {d.year}",
    "spanish words": lambda d: f"{d.day} de {MONTHS['spanish'][d.month - 1]} de {d.year}",
    "net": lambda d: f"/Date({int(d.timestamp() * 1000)})/",
    "ordinal": _ordinal,
    "weekday german": lambda d: f"{['Mo', 'Di', 'Mi', 'Do', 'Fr', 'Sa', 'So'][d.weekday()]}, {d:%d.%m.%Y}",
}

TIMES: dict[str, str | Callable[[pd.Timestamp], str]] = {
    **SPELLINGS["times"],
    "seconds": lambda d: str(int(d.timestamp())),
    "float seconds": lambda d: f"{d.timestamp():.1f}",
    "milliseconds": lambda d: str(int(d.timestamp() * 1000)),
    "microseconds": lambda d: str(int(d.timestamp() * 1_000_000)),
    "exponent": lambda d: f"{d.timestamp() * 1000:.12E}",
    "serial": lambda d: f"{(d - DAY_0) / pd.Timedelta(days=1):.9f}",
    "serial comma": lambda d: f"{(d - DAY_0) / pd.Timedelta(days=1):.9f}".replace(".", ","),
    "oracle": lambda d: f"{d:%d-%b-%y %I.%M.%S}.000000 {d:%p}".upper(),
    "berlin": _in("Europe/Berlin", "%Y-%m-%d %H:%M:%S Europe/Berlin"),
    "cet": _in("Europe/Berlin", "%Y-%m-%d %H:%M:%S %Z"),
    "eastern": _in("America/New_York", "%Y-%m-%d %I:%M:%S %p %Z"),
    "bracketed": _in("Asia/Tokyo", "%Y-%m-%dT%H:%M:%S%z[Asia/Tokyo]"),
    "mixed offsets": lambda d: d.tz_localize("UTC").tz_convert("Europe/Berlin").isoformat(),
    "single digits": lambda d: f"{d.month}/{d.day}/{d.year} {d.hour}:{d.minute:02d}",
    "single digits iso": lambda d: f"{d.year}-{d.month}-{d.day} {d.hour}:{d.minute:02d}:{d.second:02d}",
}

ENCODINGS = {codec: script for script, codecs in SPELLINGS["encodings"].items() for codec in codecs.split()}


def _some(rng: np.random.Generator, options: Any) -> Any:
    options = list(options)
    return options[int(rng.integers(len(options)))]


def _number_column(e: Export, rng: np.random.Generator) -> str:
    return "value" if e.kind == "interactions" else _some(rng, ("income", "age", "income"))


def number_form(e: Export, rng: np.random.Generator) -> str:
    form = _some(rng, NUMBERS)
    column = "value" if e.kind == "interactions" else "income"
    if form in WHOLE:
        e.meant[column] = [float(round(v)) for v in e.meant[column]]
    e.respell(column, NUMBERS[form])
    if form == "thousands":
        e.meant[column] = [round(v / 1000, 5) * 1000 for v in e.meant[column]]
    if rng.random() < 0.5:
        e.delimiter = ";"
    return form


def some_negative(e: Export, rng: np.random.Generator) -> str:
    form, column = _some(rng, NEGATIVES), ("value" if e.kind == "interactions" else "income")
    for k in np.flatnonzero(rng.random(e.n) < 0.3):
        e.cells[column][k], e.meant[column][k] = NEGATIVES[form](e.meant[column][k]), -e.meant[column][k]
    if "dollar" in form:
        e.cells[column] = [c if v < 0 else f"${c}" for c, v in zip(e.cells[column], e.meant[column], strict=True)]
    return form


def percent(e: Export, rng: np.random.Generator) -> str:
    if e.kind != "customers":
        return ""
    form = _some(rng, ("%", " %", "comma", "some", "one"))
    for k, v in enumerate(e.meant["share"]):
        if form in ("some", "one") and k % 3 and (form == "some" or k > 1):
            continue
        text = f"{v * 100:.1f}"
        e.cells["share"][k] = (text.replace(".", ",") if form == "comma" else text) + (" %" if form == " %" else "%")
    if form not in ("some", "one"):
        e.meant["share"] = [round(v * 100, 1) for v in e.meant["share"]]
    return form


def odd_number(e: Export, rng: np.random.Generator) -> str:
    column, word = _number_column(e, rng), _some(rng, SPELLINGS["words"])
    for k in rng.choice(e.n, int(_some(rng, (1, 1, 2, 5))), replace=False):
        e.cells[column][k], e.meant[column][k] = word, None
    return word


def mixed_marks(e: Export, rng: np.random.Generator) -> str:
    column = "value" if e.kind == "interactions" else "income"
    half = rng.random(e.n) < _some(rng, (0.05, 0.5))
    form = _some(rng, ("german", "decimal comma", "french", "german whole"))
    if form in WHOLE:
        e.meant[column] = [float(round(v)) if h else v for v, h in zip(e.meant[column], half, strict=True)]
    write = NUMBERS[form]
    e.cells[column] = [write(v) if h else c for v, c, h in zip(e.meant[column], e.cells[column], half, strict=True)]
    return ""


def boolean_form(e: Export, rng: np.random.Generator) -> str:
    if e.kind != "customers":
        return ""
    yes, no = _some(rng, SPELLINGS["booleans"]).split("/")
    e.respell("churned", lambda v: yes if v else no)
    return f"{yes}/{no}"


def id_form(e: Export, rng: np.random.Generator) -> str:
    form = _some(rng, IDS)
    e.respell("customer_id", IDS[form])
    stripped = {
        "blanks": lambda t: t.strip(),
        "no-break": lambda t: t.strip(),
        "float": lambda t: t[:-2],
        "float with comma": lambda t: t[:-2],
        "two decimals": lambda t: t[:-3],
        "formula text": lambda t: t[2:-1],
    }
    e.meant["customer_id"] = [stripped.get(form, lambda t: t)(c) for c in e.cells["customer_id"]]
    return form


def cut_ids(e: Export, rng: np.random.Generator) -> str:
    form = _some(rng, CUT_IDS)
    digits = [re.sub("[^0-9]", "", unicodedata.normalize("NFKC", t)).zfill(3) for t in e.meant["customer_id"]]
    e.cells["customer_id"] = [CUT_IDS[form](t) for t in digits]
    e.meant["customer_id"] = list(e.cells["customer_id"])
    e.must_be_said = True
    return form


def odd_id(e: Export, rng: np.random.Generator) -> str:
    """A few ids are blank, words for nobody, twins of others, or written in another Unicode form."""
    what = _some(rng, ("blank", "word", "capitals", "zero width", "decomposed", "repeated"))
    k = int(rng.integers(1, e.n))
    ids = e.cells["customer_id"]
    if what == "blank":
        ids[k], e.must_be_said = _some(rng, ("", " ", "\u00a0", "\u200b")), True
    elif what == "word":
        ids[k], e.must_be_said = _some(rng, ("NULL", "n/a", "None", "-", "NaN", "unknown", "0", "#N/A")), True
        e.meant["customer_id"][k] = ids[k]
    elif what == "capitals" and e.kind == "interactions" and ids[k] != ids[k].lower():
        ids[k], e.must_be_said = ids[k].lower(), True
        e.meant["customer_id"][k] = ids[k]
    elif what == "zero width":
        ids[k] = f"\u200b{ids[k]}"
    elif what == "decomposed":
        ids[k] = "Zoe\u0308"
        e.meant["customer_id"][k] = "Zo\u00eb"
    elif what == "repeated" and e.kind == "customers":
        ids[k], e.must_be_said = ids[0], True
    return what


def date_form(e: Export, rng: np.random.Generator) -> str:
    column, forms = ("timestamp", {**DATES, **TIMES}) if e.kind == "interactions" else ("signup", DATES)
    form = _some(rng, forms)
    if form in DATES and (form not in TIMES or rng.random() < 0.3):
        e.meant[column] = [d.normalize() for d in e.meant[column]]
        how = DATES[form]
    else:
        how = forms[form]
    if form == "month only":
        e.meant[column] = [d.replace(day=1) for d in e.meant[column]]
    e.respell(column, lambda d: f"{d:{how}}" if isinstance(how, str) else how(d))
    return form


def odd_date(e: Export, rng: np.random.Generator) -> str:
    column, word = ("timestamp" if e.kind == "interactions" else "signup"), _some(rng, SPELLINGS["bad_dates"])
    for k in rng.choice(e.n, int(_some(rng, (1, 1, 3))), replace=False):
        e.cells[column][k], e.meant[column][k] = word, None
    e.must_be_said = e.kind == "interactions"
    return word


def half_converted(e: Export, rng: np.random.Generator) -> str:
    """A spreadsheet has turned the dates it understood and left the others: 13/01/2026 beside 2026-05-01."""
    column = "timestamp" if e.kind == "interactions" else "signup"
    how = _some(rng, ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d"))
    for k, d in enumerate(e.meant[column]):
        e.meant[column][k] = d.normalize()
        e.cells[column][k] = f"{d:{how}}" if d.day > 12 else f"{d:%Y-%m-%d}"
    return how


def mixed_times(e: Export, rng: np.random.Generator) -> str:
    """Some of the times have a zone, another unit, or a date alone."""
    if e.kind != "interactions":
        return ""
    what = _some(rng, ("zone", "unit", "other zone", "date alone"))
    some = rng.random(e.n) < _some(rng, (0.1, 0.5))
    if what == "unit":
        e.cells["timestamp"] = [
            str(int(d.timestamp() * (1000 if s else 1))) for d, s in zip(e.meant["timestamp"], some, strict=True)
        ]
    elif what == "zone":
        e.cells["timestamp"] = [f"{c}Z" if s else c for c, s in zip(e.cells["timestamp"], some, strict=True)]
        e.must_be_said = bool(some.any())
    elif what == "other zone":
        e.cells["timestamp"] = [
            f"{d + pd.Timedelta(hours=5, minutes=30):%Y-%m-%d %H:%M:%S}+05:30" if s else f"{c}+00:00"
            for d, c, s in zip(e.meant["timestamp"], e.cells["timestamp"], some, strict=True)
        ]
    else:
        for k in np.flatnonzero(some):
            e.meant["timestamp"][k] = e.meant["timestamp"][k].normalize()
            e.cells["timestamp"][k] = plain(e.meant["timestamp"][k])
    return what


def header_again(e: Export, rng: np.random.Generator) -> str:
    how = _some(rng, ("same", "upper", "twice"))
    text = e.line(list(e.cells))
    e.put_in[int(rng.integers(1, e.n))] = text.upper() if how == "upper" else text
    if how == "twice":
        e.put_in[int(rng.integers(1, e.n))] = text
    return how


def total(e: Export, rng: np.random.Generator) -> str:
    word, place = _some(rng, SPELLINGS["totals"]), int(_some(rng, (0, 0, 1)))
    cells = ["" for _ in e.cells]
    cells[place] = word
    for k, column in enumerate(e.cells):
        if k > place and isinstance(e.meant[column][0], float) and not isinstance(e.meant[column][0], bool):
            cells[k] = f"{sum(v or 0 for v in e.meant[column]):.2f}"
    if rng.random() < 0.7:
        e.below.append(e.line(cells))
    else:
        e.put_in[int(rng.integers(2, e.n))] = e.line(cells)
    return f"{word} in column {place + 1}"


def footer(e: Export, rng: np.random.Generator) -> str:
    text = _some(rng, SPELLINGS["footers"])
    pad = _some(rng, (True, False))
    lines = [e.line([line] + [""] * (len(e.cells) - 1)) if pad else line for line in text.split("\n")]
    e.below += [*_some(rng, ([], [""], [e.delimiter * (len(e.cells) - 1)])), *lines]
    return text.split("\n")[0]


def title(e: Export, rng: np.random.Generator) -> str:
    e.above = _some(rng, SPELLINGS["titles"])
    return e.above[0]


def second_header(e: Export, rng: np.random.Generator) -> str:
    """Units, types or descriptions in the first row below the header, or codes above it."""
    what = _some(rng, ("units", "types", "codes", "groups"))
    units = {"income": "EUR", "value": "EUR", "age": "years", "share": "%", "signup": "date", "timestamp": "UTC"}
    if what == "units":
        e.put_in[0] = e.line([f"[{units.get(c, '')}]" if c in units else "" for c in e.cells])
    elif what == "types":
        e.put_in[0] = e.line(["varchar" if c not in units else "numeric" for c in e.cells])
    elif what == "codes":
        e.above = [e.line(["", *(f"X{k}" for k in range(1, len(e.cells)))])]
    else:
        e.above = [e.line(["Customer", *[""] * (len(e.cells) - 2), "Dates"])]
    return what


def blank_rows(e: Export, rng: np.random.Generator) -> str:
    text = _some(rng, ("", " ", e.delimiter * (len(e.cells) - 1), f" {e.delimiter}" * (len(e.cells) - 1)))
    for k in rng.choice(e.n, 3, replace=False):
        e.put_in[int(k)] = text
    return repr(text)


def ruler(e: Export, rng: np.random.Generator) -> str:
    sign = _some(rng, ("---", "===", "-"))
    e.put_in[0] = e.line([sign] * len(e.cells))
    return sign


def ragged(e: Export, rng: np.random.Generator) -> str:
    what = _some(rng, ("short", "long", "comma", "delimiter at the end", "delimiter at every end", "cells shifted"))
    k = int(rng.integers(0, e.n)) + 1

    def edit(lines: list[str]) -> list[str]:
        if what == "delimiter at every end":
            return [lines[0], *(line + e.delimiter for line in lines[1:])]
        at = lines[k]
        lines[k] = {
            "short": at.rpartition(e.delimiter)[0],
            "long": f"{at}{e.delimiter}more",
            "comma": at.replace(e.delimiter, f"{e.delimiter}Doe{e.delimiter} ", 1),
            "delimiter at the end": at + e.delimiter,
            "cells shifted": e.delimiter + at.rpartition(e.delimiter)[0],
        }[what]
        return lines

    e.edit.append(edit)
    e.must_be_said = what in ("short", "long", "comma", "cells shifted")
    return what


def quotes(e: Export, rng: np.random.Generator) -> str:
    what = _some(
        rng,
        (
            "all",
            "open",
            "two open",
            "inch",
            "backslash",
            "single",
            "smart",
            "line break",
            "trailing text",
            "blank before",
        ),
    )

    def cells_of(line: str) -> list[str]:
        return next(csv.reader([line], delimiter=e.delimiter), [])

    column = list(e.cells)[0 if e.kind == "interactions" else int(_some(rng, (0, 5, 7)))]
    k = int(rng.integers(1, e.n - 6))
    if what == "all":
        e.quote = csv.QUOTE_ALL
    elif what in ("inch", "backslash", "line break"):
        column = "action" if e.kind == "interactions" else "city"
        text = {"inch": '6" pipe', "backslash": 'the "Old" town', "line break": "Old\nTown"}[what]
        e.meant[column][k] = text
        e.cells[column][k] = text if what == "line break" else "QQ"
        written = '6" pipe' if what == "inch" else '"the \\"Old\\" town"'
        if what != "line break":
            e.edit.append(lambda lines: [line.replace("QQ", written) for line in lines])
    elif what == "single":
        e.edit.append(lambda lines: [e.delimiter.join(f"'{c}'" for c in cells_of(line)) for line in lines])
    elif what == "smart":
        e.cells[column][k] = f"“{e.cells[column][k]}”"
        e.meant[column][k] = e.cells[column][k]
    elif what == "trailing text":
        column = "action" if e.kind == "interactions" else "plan"
        e.cells[column][k], e.meant[column][k] = "QQ", 'big "x" y'
        e.edit.append(lambda lines: [line.replace("QQ", '"big" x y') for line in lines])
        e.must_be_said = True
    elif what == "blank before":
        e.edit.append(lambda lines: [(e.delimiter + " ").join(f'"{c}"' for c in cells_of(line)) for line in lines])
    else:
        ends = [k, k + 4] if what == "two open" else [k]
        e.must_be_said = True

        def edit(lines: list[str]) -> list[str]:
            filled = [k for k, line in enumerate(lines) if e.delimiter in line]
            for place in (filled[min(k, len(filled) - 1)] for k in ends):
                lines[place] = lines[place].replace(e.delimiter, f'{e.delimiter}"', 1)
            return lines

        e.edit.append(edit)
    return what


def layout(e: Export, rng: np.random.Generator) -> str:
    e.delimiter = _some(rng, (";", "\t", "|", ",", "~", "^", "\x01", "::"[0:1]))
    e.newline = _some(rng, ("\n", "\r\n", "\r"))
    return repr(e.delimiter)


def encoding(e: Export, rng: np.random.Generator) -> str:
    codec = _some(rng, ENCODINGS)
    if e.kind == "customers":
        old, cities = sorted({c for c in e.meant["city"] if isinstance(c, str)}), CITIES[ENCODINGS[codec]]
        new = {name: cities[k % len(cities)] for k, name in enumerate(old)}
        for values in (e.cells["city"], e.meant["city"]):
            values[:] = [new.get(v, v) for v in values]
    e.encoding = codec
    return codec


def bytes_damage(e: Export, rng: np.random.Generator) -> str:
    what = _some(rng, ("stray byte", "mojibake", "control-z", "nul at the end", "nul within", "bom twice", "cut off"))
    if what == "stray byte":
        e.finish.append(lambda raw: raw.replace(b"basic", b"b\xe4sic", 1).replace(b"call", b"c\xe4ll", 1))
        e.must_be_said = not e.encoding.startswith(("utf-16", "utf-32"))
    elif what == "mojibake" and e.encoding == "utf-8":
        e.finish.append(
            lambda raw: raw.decode("utf-8", "ignore").encode("utf-8").decode("cp1252", "ignore").encode("utf-8")
        )
        e.must_be_said = e.kind == "customers" and not "".join(map(str, e.cells["city"])).isascii()
    elif what == "control-z":
        e.finish.append(lambda raw: raw + b"\x1a")
    elif what == "nul at the end":
        e.finish.append(lambda raw: raw + b"\0" * 512)
    elif what == "nul within":
        e.finish.append(lambda raw: raw.replace(b"a", b"a\0", 1))
        e.must_be_said = True
    elif what == "bom twice":
        e.finish.append(lambda raw: b"\xef\xbb\xbf\xef\xbb\xbf" + raw)
    elif what == "cut off":
        e.finish.append(lambda raw: raw[: len(raw) - int(rng.integers(2, 12))])
        e.lost = 1
    return what


def names(e: Export, rng: np.random.Generator) -> str:
    """Something is odd about the header."""
    what = _some(
        rng,
        (
            "blanks",
            "upper",
            "no-break",
            "twice",
            "unnamed index",
            "unnamed",
            "line break",
            "two labels",
            "none",
            "bracketed",
        ),
    )
    header = list(e.cells)
    if what == "blanks":
        e.header = [f"  {name} " for name in header]
    elif what == "upper":
        e.header = [name.upper() for name in header]
    elif what == "no-break":
        e.header = [name.replace("_", "\u00a0") for name in header]
    elif what == "twice":
        e.cells["zz"], e.meant["zz"] = list(e.cells[header[-1]]), list(e.meant[header[-1]])
        e.header, e.must_be_said = [*header, header[-1]], True
    elif what == "unnamed index":
        e.cells = {"": [str(k) for k in range(e.n)], **e.cells}
    elif what == "unnamed":
        e.header = [*header[:-1], ""]
        e.meant.pop(header[-1])
    elif what == "line break" and e.kind == "customers":
        e.header = [name.replace("income", "in\ncome") for name in header]
    elif what == "two labels" and e.kind == "customers":
        e.cells["Churn Flag"] = ["1" if v else "0" for v in e.meant["churned"]]
        e.must_be_said = True
    elif what == "none":
        e.edit.append(lambda lines: lines[1:])
        e.must_be_said = True
    elif what == "bracketed" and e.kind == "customers":
        e.header = [name.replace("income", "income [EUR]").replace("share", "share (%)") for name in header]
    return what


def blanks_in_text(e: Export, rng: np.random.Generator) -> str:
    """Words for no value in a column of words, and words that only look so."""
    if e.kind != "customers":
        return ""
    what = _some(rng, ("Namibia", "None", "Select", "empty", "NULL", "unknown", "999", "-1"))
    some = rng.random(e.n) < 0.2
    if what == "Namibia":
        column, word, value = "country", "NA", "NA"
    elif what in ("999", "-1"):
        column, word, value = "age", what, float(what)
        e.must_be_said = bool(some.sum() > 5)
    else:
        column, word = "plan", {"empty": ""}.get(what, what)
        value = None if what in ("empty", "NULL", "Select", "None") else what
        e.must_be_said = bool(some.any()) and what not in ("empty", "unknown", "None")
    for k in np.flatnonzero(some):
        e.cells[column][k], e.meant[column][k] = word, value
    if what == "None" and rng.random() < 0.5:
        for k in np.flatnonzero(some):
            e.meant[column][k] = "None"
        e.cells[column][0], e.meant[column][0] = "", None
    return what


DAMAGES = {
    function.__name__: function
    for function in (
        *(number_form, mixed_marks, some_negative, percent, boolean_form, id_form, cut_ids, date_form, half_converted),
        *(
            mixed_times,
            odd_number,
            odd_id,
            odd_date,
            blanks_in_text,
            layout,
            encoding,
            header_again,
            total,
            footer,
            title,
        ),
        *(second_header, blank_rows, ruler, quotes, ragged, names, bytes_damage),
    )
}
"""In the order in which they happen: forms before odd cells, cells before lines, lines before bytes."""
