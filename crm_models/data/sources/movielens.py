"""MovieLens of any size: ratings.csv, movies.csv; u.data, u.item, u.user; or ratings.dat, movies.dat, users.dat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.archives import read_bytes
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.importer import Importer, distinct_labels, files_in, known_table, unpacked_name
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.tables import known_cohort, receipt_of_known

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The genre flags at the end of each line of u.item, in order (from its README)."""

RATING = ("userId", "movieId", "rating", "timestamp")
EVENT = {CUSTOMER_ID: ["userId"], ACTION: ["movieId"], VALUE: ["rating"], TIMESTAMP: ["timestamp"]}
FILM = ("movieId", "title", "genres")
U_ITEM = ("movieId", "title", "released", "on video", "address", *GENRES_100K)
USERS_DAT = ("userId", "gender", "age", "occupation", "zip")
U_USER = ("userId", "age", "gender", "occupation", "zip")
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "ratings": {"ratings.csv": RATING, "rating.csv": RATING, "ratings.dat": RATING, "u.data": RATING},
    "films": {"movies.csv": FILM, "movie.csv": FILM, "movies.dat": FILM, "u.item": U_ITEM},
    "users": {"users.dat": USERS_DAT, "u.user": U_USER},
}
"""File names of all releases and their columns, for files without a header. rating.csv and movie.csv are Kaggle's."""


def import_movielens(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Ratings as interactions (value: stars), films as actions that are recommended only once; no churn labels.

    Films without ratings are left out; titles become labels, genres a feature. The two oldest releases also have the
    gender, age and occupation of users.
    """
    files = _files(sources)
    name, receipt = files["ratings"].name, receipt_of_known()
    events = known_table(files["ratings"], "interactions", EVENT, receipt, _read(files["ratings"], RATING))
    events[TIMESTAMP] = moments_of(events, name, TIMESTAMP, receipt)
    events = events.sort_values(TIMESTAMP, kind="stable")
    receipt.notes.insert(0, f"MovieLens: {len(events):,} ratings; films are not recommended twice.")
    rated = names_of(events, name, ACTION).cat.categories
    tables = {"interactions": (events[list(EVENT)], name)}
    if users := files.get("users"):
        cells = _read(users, PARTS["users"][unpacked_name(users)])
        people = known_table(users, "customers", {CUSTOMER_ID: ["userId"]}, receipt, cells)
        tables["customers"] = (people.drop(columns="zip"), users.name)  # almost unique
    tables["actions"] = (_films(files.get("films"), rated, receipt), name)
    cohort = known_cohort("movielens", tables, receipt, churn_days)
    if "occupation" in cohort.customers and is_numeric_dtype(cohort.customers["occupation"]):
        codes = cohort.customers["occupation"].map("{:g}".format).astype("str")  # text in the other release
        cohort = replace(cohort, customers=cohort.customers.assign(occupation=codes))
    return cohort


def _files(sources: Sequence[Path]) -> dict[str, Path]:
    """The files of ratings, films and users that exist; a single file of another name is the ratings."""
    files: dict[str, Path] = {}
    for source in sources:
        for file in files_in(source):
            for part, names in PARTS.items():
                if unpacked_name(file) in names:
                    files.setdefault(part, file)
    known = {name for names in PARTS.values() for name in names}
    other_files = [source for source in sources if source.is_file() and unpacked_name(source) not in known]
    if "ratings" not in files and len(other_files) == 1:
        files["ratings"] = other_files[0]
    if "ratings" not in files:
        raise DataError(f"{sources[0]}: expected {', '.join(PARTS['ratings'])}, found none of them")
    return files


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The table in a file of any release. Older files have no header, and quotation marks in titles are literal."""
    raw, kind = read_bytes(file), unpacked_name(file)
    if kind.endswith(".dat"):
        raw = raw.replace(b"::", b"\t")  # the parser needs a one-character delimiter; titles contain no tabs
    if kind.endswith(".dat") or kind in ("u.data", "u.item", "u.user"):
        delimiter = "|" if kind in ("u.item", "u.user") else "\t"
        return read_table(raw, file.name, header=columns, delimiter=delimiter, quoted=False)
    table = read_table(raw, file.name)
    if table.shape[1] == len(columns) and str(table.columns[0]).isdecimal():  # a copy without its header
        return read_table(raw, file.name, header=columns)
    return table


def _films(file: Path | None, rated: pd.Index, receipt: Receipt) -> pd.DataFrame:
    """One row per rated film, in order of film number."""
    ids = pd.Index(sorted(rated, key=_numeric_first), dtype="str")
    if file is None:
        receipt.note("No file of films; they are named by their number.")
        return pd.DataFrame({ACTION: ids, LABEL: "movie " + ids, REPEATABLE: False})
    cells = _read(file, U_ITEM if unpacked_name(file) == "u.item" else FILM)
    if "Western" in cells:
        cells = cells.assign(genres=_from_flags(cells[list(GENRES_100K)]))
    films = known_table(file, "actions", {c: [c] for c in FILM[:2]}, receipt, cells)
    films["movieId"] = names_of(films, file.name, "movieId").astype("str")
    known = films.drop_duplicates("movieId").set_index("movieId").reindex(ids)
    title = known["title"].where(known["title"].notna(), "movie " + pd.Series(ids, index=ids))
    table = pd.DataFrame({ACTION: ids, LABEL: distinct_labels(title, ids).to_numpy(), REPEATABLE: False})
    if "genres" in known:
        table["genres"] = known["genres"].replace("(no genres listed)", None).to_numpy()
    unrated, untitled = ~films["movieId"].isin(ids).to_numpy(), int(known["title"].isna().sum())
    said = f"Films without ratings, left out: {int(unrated.sum()):,}."
    receipt.explain(films, file.name, unrated, "films without ratings", said)
    if untitled:
        receipt.note(f"Rated films that are not in {file.name}, named by their number: {untitled:,}.")
    return table


def _from_flags(flags: pd.DataFrame) -> pd.Series:
    """One column of genres joined by bars, from a 0/1 column per genre."""
    text = pd.Series("", index=flags.index, dtype="str")
    for genre in flags.columns:
        text = text.where(flags[genre] != "1", text + "|" + genre)
    return text.str.removeprefix("|").replace("", None)


def _numeric_first(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


IMPORTER = Importer(
    title="MovieLens",
    files="ratings.csv and movies.csv, or u.data and u.item, or ratings.dat and movies.dat",
    read=import_movielens,
)
