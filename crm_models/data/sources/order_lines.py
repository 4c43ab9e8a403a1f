"""Orders in one table and their lines in another, as shops export them: each line is an event."""

from __future__ import annotations

import pandas as pd

from crm_models.core.schema import ACTION, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.roles import guess_columns

SHARE = 0.5
"""At least this share of the lines has its order in the other table."""


def key_of(orders: pd.DataFrame, lines: pd.DataFrame) -> str | None:
    """The column of both tables that is different in each order and repeats in the lines; None if there is none."""
    for column in (c for c in orders.columns if c in lines and c not in (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE)):
        each_once = orders[column].notna().all() and orders[column].is_unique
        repeats = lines[column].duplicated().any()
        if each_once and repeats and lines[column].isin(orders[column]).mean() >= SHARE:
            return str(column)
    return None


def wants_lines(orders: str, lines: str, key: str, receipt: Receipt) -> bool:
    """Asks whether the lines are events of the orders' customers; orders, lines: names of files."""
    chosen = receipt.ask(
        "lines",
        file=orders,
        column=key,
        evidence=f"{lines} names no customer; its {key!r} repeats, and stands once in {orders}.",
        readings={
            "join": f"each row of {lines} is an event, its customer and time are in {orders}",
            "apart": f"{lines} is not read",
        },
    )
    return chosen == "join"


def joined(
    orders: pd.DataFrame, lines: pd.DataFrame, key: str, names: tuple[str, str], receipt: Receipt
) -> pd.DataFrame:
    """(L,) the lines with the columns of their orders; lines without an order are explained. names: of both files."""
    if VALUE not in lines and (value := guess_columns(lines).get(VALUE)):  # the order's value is not that of a line
        lines = lines.rename(columns={value: VALUE})
        receipt.note(f"{names[1]}: columns recognised by their usual names: {VALUE}={value} (--column maps others).")
    lines = receipt.explain(lines, names[1], ~lines[key].isin(orders[key]).to_numpy(), f"no such {key} in {names[0]}")
    added = [key, *(c for c in orders.columns if c not in lines)]
    both = lines.join(orders[added].set_index(key), on=key)
    both.attrs = lines.attrs
    receipt.rows["explained"] += len(orders)
    why = f"joined to the rows of {names[1]} by {key}"
    receipt.left_out.append({"file": names[0], "rows": len(orders), "first_row": None, "why": why})
    return both
