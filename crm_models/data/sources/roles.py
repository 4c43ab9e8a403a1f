"""Which column is the customer, the action, the time, the value and the label, and which table is which.

Names propose, values decide: a column that never repeats in a table of events is no customer, and ids that repeat
beside dates are events.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.sources.dates import clocks_of, dates_of, look_dated
from crm_models.data.sources.frames import is_text
from crm_models.data.sources.labels import LEFT, NO, STAYED, YES
from crm_models.data.sources.receipt import Receipt

USUAL_NAMES = {
    CUSTOMER_ID: "customer_id customer_number customer_no customer user_id users_id user client_id client_number "
    "client_no client_num client member_id cust_id user_pseudo_id kundennummer kunden_nummer kundennr kdnr kunden_id "
    "kunde numero_client no_client n_client id_client id_cliente numer_klienta cliente klantnummer klant id",
    ACTION: "action event event_type event_name item item_id product product_id sku stock_code movie_id asin offer_id "
    "offer aktion ereignis vorgang aktivitaet artikel produkt evenement evento produit producto",
    TIMESTAMP: "timestamp time date datetime event_time event_timestamp event_date created_at created_date order_date "
    "order_purchase_timestamp purchase_date transaction_date invoice_date when datum zeitpunkt zeit wann bestelldatum "
    "kaufdatum fecha data date_heure",
    VALUE: "value event_value rating amount amt price revenue score dollar_value sales quantity umsatz betrag wert "
    "preis montant prix importe precio",
    CHURNED: "churned churn exited is_churn churn_flag churn_label churn_value attrition_flag attrition gekundigt "
    "gekuendigt kundigung kuendigung abgewandert resilie resiliation desabonne baja abbandono left target label",
}
"""Usual names of each column, most likely first; compared without case, accents, blanks and punctuation."""

PERSONS = (
    *("contact_id", "contact", "lead_id", "prospect_id", "requester_id", "subscriber_id", "person_id", "visitor_id"),
    *("patient_id", "profile_id", "recipient_id", "who_id"),
)
MAILS = ("email", "email_address", "e_mail", "mail")
OTHER_CUSTOMERS = (*PERSONS, "account_id", "account_number", "account", "household_id", *MAILS)
"""Names of a customer that `id` gives way to where it numbers the rows of events. Persons that repeat beside dates make
a table one of events; accounts and households repeat in lists of contacts, too."""

OTHER_ACTIONS = (
    *("type", "activity", "activity_type", "event_name", "campaign_id", "campaign", "channel", "category", "kind"),
    *("was_geschah", "was", "art", "status", "stage", "lineitem_name"),
)

DOUBTFUL = ("left", "target", "label")
"""Label names that may also mean something else: suggested, never used automatically."""
POSSIBLE_LABELS = {
    *DOUBTFUL,
    *("y", "converted", "conversion", "response", "responded", "outcome", "deposit", "subscribed", "default", "class"),
    *("purchased", "bought", "lost", "won", "attrited", "cancelled", "canceled", "isactivemember", "retained"),
}
"""Words in the name of a column of two values that may be the label."""
FEW_ROWS = 5
"""In a table of fewer rows, that no value repeats says nothing."""
SAMPLE = 1_000
_KNOWN = {*YES, *NO, *LEFT, *STAYED, "0", "1", "0.0", "1.0", "-1", "+1"}
"""Words of a label."""

_ID_NAME = re.compile(r".*(id|nr|no|num|number|nummer|code|key|numero)")
_DECIMAL = r"[+-]?[0-9]*[.,][0-9]+"
_CURRENCY = re.compile(r"(in)?(eur|usd|gbp|chf)$")


def plain(column: object) -> str:
    """A column name without case, accents, blanks and punctuation."""
    decomposed = unicodedata.normalize("NFKD", str(column).lower().replace("ß", "ss"))
    return re.sub(r"[\W_]", "", "".join(c for c in decomposed if not unicodedata.combining(c)))


def guess_columns(table: pd.DataFrame) -> dict[str, str]:
    """The likely customer, action, timestamp, value and label columns of a table: standard name to column."""
    names: dict[str, str] = {}
    for column in reversed(table.columns):
        names[_CURRENCY.sub("", plain(column)) or plain(column)] = str(column)
        names[plain(column)] = str(column)
    guesses: dict[str, str] = {}
    for name, usual in USUAL_NAMES.items():
        found = [c for word in usual.split() if (c := names.get(plain(word))) and c not in guesses.values()]
        if name == ACTION:  # one that tells actions apart, if there is one
            found = [c for c in found if table[c].iloc[:SAMPLE].nunique() != 1] or found
        elif name == TIMESTAMP and found and is_clock(table[found[0]]):  # times of day beside a date
            found = found[1:] or dated_columns(table, *found) or found
        elif name == TIMESTAMP and len(found) > 1 and _are_small(table[found[0]]):
            found = [c for c in found[1:] if _is_dated(table[c])] or found
        if found:
            guesses[name] = found[0]
    return guesses


def is_clock(values: pd.Series) -> bool:
    """Whether the first cells of a column are times of day without a day, such as 10:30 or 1030."""
    cells = values.iloc[:SAMPLE].dropna().astype("str").str.strip()
    hours = clocks_of(cells, digits=True)
    return hours is not None and bool((hours < 24).all())


def _are_small(values: pd.Series) -> bool:
    """Whether the first cells are numbers such as hours, which say less than a date beside them."""
    cells = values.iloc[:SAMPLE].dropna().astype("str").str.strip()
    return len(cells) > 0 and bool(cells.str.fullmatch(r"[0-9]{1,4}(?:\.[0-9]+)?").all())


def kind_of(table: pd.DataFrame) -> str:
    """Whether a table is `interactions`, `customers` or `actions`: by names, and where these are silent by values."""
    exact, guessed = set(map(str, table.columns)), guess_columns(table)
    likely = set(guessed)
    if TIMESTAMP in exact:
        return "interactions"
    if CHURNED in exact:
        return "customers"
    if ACTION in exact or (ACTION in likely and CUSTOMER_ID not in likely and TIMESTAMP not in likely):
        named = {CUSTOMER_ID, TIMESTAMP} & (exact | likely)
        return "interactions" if named or _has_dated_persons(table) else "actions"
    if {CUSTOMER_ID, TIMESTAMP} <= likely and likely & {ACTION, VALUE}:
        may_be_customers = ACTION not in likely or _is_labelled(table, guessed)
        one_row_each = may_be_customers and _never_repeats(table, guessed[CUSTOMER_ID])
        return "customers" if one_row_each and repeating_customer(table) is None else "interactions"
    return "interactions" if _repeats_beside_dates(table, guessed) else "customers"


def _repeats_beside_dates(table: pd.DataFrame, guessed: dict[str, str]) -> bool:
    """Whether ids repeat and a column of dates stands beside them, whatever the columns are called."""
    if CHURNED in guessed:
        return False
    customer, most = guessed.get(CUSTOMER_ID) or repeating_customer(table), 0.8 if len(table) >= FEW_ROWS else 0.0
    if customer is not None and _numbers_rows(table, customer):
        customer, most = repeating_customer(table, (*PERSONS, *MAILS)), most or 0.5
    if customer is None or table[customer].nunique() > most * len(table):
        return False
    return bool(dated_columns(table, customer))


def _has_dated_persons(table: pd.DataFrame) -> bool:
    """Whether a column of persons or accounts stands beside dates."""
    usual = {plain(name) for name in OTHER_CUSTOMERS}
    return any(plain(column) in usual for column in table.columns) and bool(dated_columns(table))


def _numbers_rows(table: pd.DataFrame, customer: str) -> bool:
    """Whether a column `Id` is different in each row: it may be the number of an event."""
    return plain(customer) == "id" and len(table) > 1 and table[customer].nunique() == table[customer].notna().sum()


def _is_labelled(table: pd.DataFrame, guessed: dict[str, str]) -> bool:
    """Whether a column is named as the churn label and has two words for yes and no."""
    label = guessed.get(CHURNED)
    if label is None or plain(label) in DOUBTFUL:
        return False
    words = set(_words(table[label].dropna()).unique())
    return len(words) == 2 and words <= _KNOWN


def customer_of(table: pd.DataFrame, kind: str) -> str | None:
    """The column of the customer, by name and by whether its values repeat as they must; None if there is none."""
    guessed = guess_columns(table).get(CUSTOMER_ID)
    if kind == "interactions":
        if guessed is None or _numbers_rows(table, guessed):
            return repeating_customer(table) or guessed
        return guessed
    return guessed or _unique_id(table)


def repeating_customer(table: pd.DataFrame, usual: Sequence[str] = OTHER_CUSTOMERS) -> str | None:
    """A column of customers, by a less usual name or as the only one named like an id, whose ids repeat."""
    fit = (c for c in _ids(table, usual) if 1 < table[c].nunique() < table[c].notna().sum())
    return next(fit, None)


def _ids(table: pd.DataFrame, usual: Sequence[str]) -> list[str]:
    """The columns of usual names, most likely first, and the only one that is named like an id."""
    names = {plain(column): str(column) for column in reversed(table.columns)}
    others = [str(c) for c in table.columns if _ID_NAME.fullmatch(plain(c)) and plain(c) != "id"]
    return [*(names[plain(n)] for n in usual if plain(n) in names), *(others if len(others) == 1 else [])]


def dated_columns(table: pd.DataFrame, *used: str | None) -> list[str]:
    """The columns that hold dates, in their order."""
    return [str(c) for c in table.columns if str(c) not in used and _is_dated(table[c])]


def action_candidates(table: pd.DataFrame, *used: str) -> list[str]:
    """Columns that could tell actions apart: a few words, each in several rows; likely names first."""
    found = []
    for column in (str(c) for c in table.columns if str(c) not in used):
        values = table[column]
        n, n_filled = values.nunique(), values.notna().sum()
        words = is_text(values) and not _is_number(values) and not _is_dated(values)
        if words and n_filled > 0.5 * len(table) and 1 <= n <= max(50, 0.05 * len(table)) and n < n_filled:
            found.append(column)
    likely = [plain(name) for name in OTHER_ACTIONS]
    rank = {c: (table[c].nunique() == 1, likely.index(plain(c)) if plain(c) in likely else len(likely)) for c in found}
    return [c for c in sorted(found, key=rank.__getitem__) if not _follows_customer(table, c)]


def _follows_customer(table: pd.DataFrame, column: str) -> bool:
    """Whether a column is another name of the customer, such as the e-mail beside the number: they go one to one."""
    if CUSTOMER_ID not in table:
        return False
    pairs = table[[CUSTOMER_ID, column]].drop_duplicates().dropna()
    n = table[CUSTOMER_ID].nunique()
    return n > 1 and len(pairs) == n == table[column].nunique()


def id_candidates(table: pd.DataFrame) -> list[str]:
    """Columns that could be the customer by their values alone: filled, never the same, no dates and no decimals."""
    columns = [str(c) for c in table.columns if table[c].notna().all() and _never_repeats(table, c)]
    return [c for c in columns if not _is_dated(table[c]) and not table[c].astype("str").str.fullmatch(_DECIMAL).any()]


def offer_label(table: pd.DataFrame, file: str, receipt: Receipt) -> str | None:
    """The column chosen as the label of a table without one: two words for yes and no under a possible name."""
    named = [c for c in map(str, table.columns) if {plain(c), *re.split(r"[\W_]+", c.lower())} & POSSIBLE_LABELS]
    for column in reversed(named):
        words = {str(word).strip().lower() for word in table[column].dropna().unique()[:3]}
        if len(words) != 2 or not words <= _KNOWN:
            continue
        chosen = receipt.ask(
            "label",
            file=file,
            column=column,
            evidence=f"{file}: no column is named as the churn label, and {column!r} has two values "
            f"({', '.join(sorted(words))}).",
            readings={"feature": "a feature; no churn model is trained", "label": "the churn label"},
            stops=False,
        )
        return column if chosen == "label" else None
    return None


def labels_again(table: pd.DataFrame, file: str, receipt: Receipt) -> list[str]:
    """Columns that say the label of the customers a second time and are left out: a model would only copy them."""
    yes = {*YES, *LEFT, "1", "1.0"}
    names = {plain(name) for name in USUAL_NAMES[CHURNED].split()} - {*DOUBTFUL}
    label, again = _words(table[CHURNED]).isin(yes), []
    for column in [str(c) for c in table.columns if plain(c) in names and c != CHURNED]:
        words = _words(table[column])
        if words.nunique() != 2 or max((words.isin(yes) == label).mean(), (words.isin(yes) != label).mean()) < 0.95:
            continue
        chosen = receipt.ask(
            "label_again",
            file=file,
            column=column,
            evidence=f"{file}: {column!r} says almost the same as the churn label.",
            readings={"leave_out": "the label a second time, left out", "feature": "a feature like others"},
        )
        again += [column] if chosen == "leave_out" else []
    return again


def _words(values: pd.Series) -> pd.Series:
    return values.astype("str").str.strip().str.lower()


def _never_repeats(table: pd.DataFrame, column: str) -> bool:
    return len(table) >= FEW_ROWS and bool(table[column].nunique() == table[column].notna().sum())


def _unique_id(table: pd.DataFrame) -> str | None:
    """A column of another usual name, or the only one named as an id, that is filled and never repeats."""
    fit = (c for c in _ids(table, OTHER_CUSTOMERS) if table[c].notna().all() and _never_repeats(table, c))
    return next(fit, None)


def _is_dated(values: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(values):
        return True
    if not is_text(values):
        return False
    cells = pd.Series(values.dropna().unique()[:SAMPLE], dtype="str").str.strip()
    return len(cells) > 0 and look_dated(cells) and bool(dates_of(cells).values.notna().mean() > 0.95)


def _is_number(values: pd.Series) -> bool:
    cells = pd.Series(values.dropna().unique()[:SAMPLE], dtype="str")
    return bool(cells.str.fullmatch(r"[-+(]?[^A-Za-z]{0,3}[0-9][0-9.,' %€$)]*").mean() > 0.95) if len(cells) else False
