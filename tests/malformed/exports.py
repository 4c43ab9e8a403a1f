"""An ordinary export: its cells, how they are written down, and what they mean."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tests.data.sources.test_workbook import rows_of, workbook

Value = str | float | pd.Timestamp | None

CITIES = {
    "western": ["Zürich", "Orléans", "Málaga", "Ålborg", "Köln", "São_Paulo", "Besançon", "Bonn", "Ulm", "Bern"],
    "polish": ["Łódź", "Kraków", "Gdańsk", "Wrocław", "Częstochowa", "Rzeszów", "Toruń", "Radom", "Opole", "Płock"],
    "russian": ["Москва", "Казань", "Самара", "Омск", "Пермь", "Уфа", "Тула", "Рязань", "Сочи", "Псков"],
    "greek": ["Αθήνα", "Πάτρα", "Λάρισα", "Βόλος", "Χανιά", "Ρόδος", "Κως", "Σάμος", "Χίος", "Κέρκυρα"],
    "turkish": ["İstanbul", "İzmir", "Eskişehir", "Muğla", "Kırşehir", "Aydın", "Çorum", "Ağrı", "Muş", "Iğdır"],
    "japanese": ["東京", "大阪", "京都", "名古屋", "札幌", "福岡", "神戸", "広島", "仙台", "横浜"],
    "chinese": ["北京", "上海", "广州", "深圳", "成都", "杭州", "武汉", "西安", "南京", "天津"],
    "korean": ["서울", "부산", "인천", "대구", "대전", "광주", "울산", "수원", "창원", "고양"],
}
COUNTRIES = ("DE", "FR", "US", "PL", "GB", "CH")
PLANS = ("basic", "plus", "premium")
ACTIONS = ("call", "mail", "visit", "offer", "newsletter")


@dataclass
class Export:
    """A table as a program writes it. meant: what its cells mean, by the standard or original name of the column.

    put_in: lines put between the rows, before the row of that number; above and below: lines outside of the table.
    names: standard name to the name in the file. must_be_said: something was lost
    or changed, so that the import must say something. lost: rows at the end that may be incomplete.
    """

    kind: str
    cells: dict[str, list[str]]
    meant: dict[str, list[Value]]
    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    quote: int = csv.QUOTE_MINIMAL
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    put_in: dict[int, str] = field(default_factory=dict)
    header: list[str] | None = None
    edit: list[Callable[[list[str]], list[str]]] = field(default_factory=list)
    finish: list[Callable[[bytes], bytes]] = field(default_factory=list)
    file: str = ""
    drop: list[str] = field(default_factory=list)
    must_be_said: bool = False
    lost: int = 0

    @property
    def n(self) -> int:
        return len(next(iter(self.cells.values())))

    def respell(self, column: str, write: Callable[[Any], str]) -> None:
        """Write every filled value of a column anew."""
        values, old = self.meant[column], self.cells[column]
        self.cells[column] = [c if v is None else write(v) for v, c in zip(values, old, strict=True)]

    def line(self, cells: list[str]) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=self.delimiter, quoting=self.quote, lineterminator="\n").writerow(cells)
        return out.getvalue().removesuffix("\n")

    def raw(self) -> bytes:
        """The bytes of the file."""
        lines = [self.line(self.header or list(self.cells))]
        for k, row in enumerate(zip(*self.cells.values(), strict=True)):
            lines += [self.put_in[k]] if k in self.put_in else []
            lines.append(self.line(list(row)))
        for change in self.edit:
            lines = change(lines)
        text = self.newline.join([*self.above, *lines, *self.below]) + self.newline
        try:
            raw = text.encode(self.encoding)
        except UnicodeEncodeError:  # a sign that another damage has brought
            raw = text.encode("utf-8")
        for finish in self.finish:
            raw = finish(raw)
        return raw

    def workbook(self) -> bytes:
        """The same table as the sheet of a workbook: what looks like a plain number is one there."""
        text = self.raw().decode("utf-8", "replace")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        return workbook({"Export": rows_of(*(tuple(map(_typed, row)) for row in rows))})


def _typed(cell: str) -> str | float | None:
    if re.fullmatch(r"-?(?:0|[1-9][0-9]{0,14})(?:\.(?:[0-9]{1,2}|[0-9]{4,6}))?", cell):
        return float(cell) if "." in cell else int(cell)
    return re.sub(r"[\x00-\x08\x0b-\x1f]", "", cell) or None


def customers(rng: np.random.Generator, n: int = 40, script: str = "western") -> Export:
    """A table of customers with a label and features of every type."""
    cities = CITIES[script]
    income = [round(float(v), 2) for v in rng.uniform(800, 95_000, n)]
    signup = [pd.Timestamp("2024-01-01") + pd.Timedelta(days=int(d)) for d in rng.integers(0, 700, n)]
    meant: dict[str, list[Value]] = {
        "customer_id": [f"C{k:04d}" for k in range(n)],
        "churned": [bool(v) for v in rng.random(n) < 0.4],
        "age": [float(v) for v in rng.integers(18, 90, n)],
        "income": income,
        "share": [round(float(v), 3) for v in rng.random(n)],
        "city": [cities[int(k)] for k in rng.integers(0, len(cities), n)],
        "country": [COUNTRIES[int(k)] for k in rng.integers(0, len(COUNTRIES), n)],
        "plan": [PLANS[int(k)] for k in rng.integers(0, len(PLANS), n)],
        "signup": signup,
    }
    return Export("customers", {name: [plain(v) for v in values] for name, values in meant.items()}, meant)


def interactions(rng: np.random.Generator, n: int = 110, n_customers: int = 20) -> Export:
    """A table of events, oldest first."""
    hours = np.sort(rng.choice(365 * 24, n, replace=False))
    meant: dict[str, list[Value]] = {
        "customer_id": [
            f"C{int(k):04d}" for k in [*range(n_customers), *rng.integers(0, n_customers, n - n_customers)]
        ],
        "action": [ACTIONS[int(k)] for k in rng.integers(0, len(ACTIONS), n)],
        "timestamp": [pd.Timestamp("2025-01-01") + pd.Timedelta(hours=int(h), minutes=7) for h in hours],
        "value": [round(float(v), 2) for v in rng.gamma(2, 900, n)],
    }
    return Export("interactions", {name: [plain(v) for v in values] for name, values in meant.items()}, meant)


def plain(value: Any) -> str:
    """A value as most programs write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value)
