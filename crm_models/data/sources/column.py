"""One column of a table on its way to values: its distinct cells, and what is said about them.

Conversion works on the distinct cells, which are few even in long tables.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.core.errors import DataError
from crm_models.data.sources.frames import WRITING, is_text, written_name
from crm_models.data.sources.receipt import ColumnRead, Receipt, row_of, samples_of

ROLES = ("customer_id", "action", "timestamp", "value", "churned", "label", "kind", "repeatable")
"""Standard names of columns that are no features."""


def need_columns(table: pd.DataFrame, name: str, *columns: str) -> None:
    """`DataError` if the table has no rows, or lacks one of `columns`; the message lists the columns it has."""
    for column in columns:
        if column not in table:
            existing = ", ".join(str(c) for c in table.columns[:12]) or "no columns"
            raise DataError(f"{name}: expected the column {column!r}, found {existing}; rename or map it")
    if not len(table):
        raise DataError(f"{name}: expected rows below the header, found none")


class Column:
    """A column with its R cells, of which D are distinct. name: as the file has it.

    whole: the name of the table, where `file` names those of its files that are read apart; see `parts`.

    values: the cells as read, without categories. Masks of distinct cells are (D,), those of rows (R,).
    """

    def __init__(self, table: pd.DataFrame, file: str, name: str, receipt: Receipt | None = None) -> None:
        self.table, self.column, self.name = table, name, written_name(table, name)
        self.receipt, self.whole = receipt or Receipt(), file
        self.file, self.writing = table.attrs.get(WRITING, (file, ""))
        if self.file != file:
            self.receipt.kinds[self.file] = self.receipt.kinds.get(file, file.split(".")[0])
        values = table[name]
        is_category = isinstance(values.dtype, pd.CategoricalDtype)
        self.values = values.astype(values.cat.categories.dtype) if is_category else values

    @cached_property
    def _factors(self) -> tuple[np.ndarray, pd.Series]:
        codes, distinct = pd.factorize(self.values)
        return codes, pd.Series(distinct).astype("str").str.strip()

    @property
    def codes(self) -> np.ndarray:
        """(R,) place of each cell in `distinct`; -1 for an empty one."""
        return self._factors[0]

    @property
    def distinct(self) -> pd.Series:
        """(D,) the distinct cells as trimmed text."""
        return self._factors[1]

    @cached_property
    def counts(self) -> np.ndarray:
        """(D,) number of rows of each distinct cell."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.distinct))

    def rows(self, mask: pd.Series | np.ndarray) -> np.ndarray:
        """(R,) whether the cell of each row is one of the masked distinct ones."""
        return np.append(np.asarray(mask, dtype=bool), False)[self.codes]

    def spread(self, values: np.ndarray) -> pd.Series:
        """(R,) the value of each row's cell; missing for an empty cell."""
        empty = np.datetime64("NaT") if values.dtype.kind == "M" else np.nan
        return pd.Series(np.append(values, np.asarray([empty], dtype=values.dtype))[self.codes], self.table.index)

    def spread_dates(self, dates: pd.Series) -> pd.Series:
        """(R,) dates of some distinct cells, by their place in `distinct`; NaT for all other rows."""
        return self.spread(dates.astype("datetime64[us]").reindex(self.distinct.index).to_numpy())

    def n_rows(self, mask: pd.Series | np.ndarray) -> int:
        """Number of rows with one of the masked cells."""
        return int(self.counts[np.asarray(mask, dtype=bool)].sum())

    def count_of(self, mask: pd.Series | np.ndarray) -> dict[str, int]:
        """Masked cell to number of rows; at most 20 of them."""
        mask = np.asarray(mask, dtype=bool)
        return dict(zip(self.distinct[mask].tolist()[:20], self.counts[mask].tolist()[:20], strict=True))

    def first(self, mask: pd.Series | np.ndarray) -> tuple[int, str]:
        """Row number and text of the first masked cell."""
        rows = self.rows(mask)
        return row_of(self.table, rows), str(self.distinct[self.codes[int(rows.argmax())]])[:40]

    def first_named(self, mask: pd.Series | np.ndarray) -> str:
        """The first masked cell in a sentence: "the first 'abc' in row 42"."""
        row, text = self.first(mask)
        return f"the first {text!r} in row {row}"

    def note(self, text: str) -> None:
        """Add a sentence to the receipt; it begins with the name of the file."""
        self.receipt.note(f"{self.file}: {text}")

    def ask(self, subject: str, evidence: str, readings: dict[str, str], *, stops: bool = True) -> str:
        """The reading to take for a doubt; see `Receipt.ask`."""
        return self.receipt.ask(
            f"{subject}.{self.writing}" if self.writing else subject,
            file=self.file,
            column=self.name,
            evidence=f"{self.file}: {evidence}",
            readings=readings,
            stops=stops,
        )

    def refuse(self, rows: np.ndarray | pd.Series, expected: str, advice: str = "correct or remove the row") -> None:
        """`DataError` for the first of the masked rows, or reject all of them; see `Receipt.refuse`."""
        self.receipt.refuse(self.table, self.whole, self.column, rows, expected, advice)

    def proves(self, form: str) -> bool:
        """Whether a cell of another text column of the table has this form."""
        others = (cells for name, cells in self.table.items() if name != self.column and is_text(cells))
        return any(pc.any(pc.match_substring_regex(pa.array(cells), form)).as_py() for cells in others)

    def record(
        self,
        kind: str,
        found: pd.Series,
        *,
        blank: pd.Series | None = None,
        odd: pd.Series | None = None,
        unit: str = "",
    ) -> None:
        """Add the column to the receipt: what it was read as, its blanks by word, odd cells and a few samples."""
        if any((known.file, known.column) == (self.file, self.name) for known in self.receipt.columns):
            return  # a known format has read it before
        n_odd, first_odd = 0, None
        if odd is not None and odd.any():
            n_odd, first_odd = self.n_rows(odd), self.first(odd)
        empty = int(self.values.isna().sum())
        blanks = ({"": empty} if empty else {}) | ({} if blank is None else self.count_of(blank))
        self.receipt.columns.append(
            ColumnRead(
                file=self.file,
                column=self.name,
                role=self.column if self.column in ROLES else "feature",
                type=kind,
                unit=unit,
                blanks=blanks,
                odd=n_odd,
                first_odd=first_odd,
                samples=samples_of(self.values.iloc[:50].tolist(), found.iloc[:50].tolist()),
            )
        )
