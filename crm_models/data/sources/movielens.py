"""MovieLens of any size: ratings.csv, movies.csv; u.data, u.item, u.user; or ratings.dat, movies.dat, users.dat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.archives import read_bytes
from crm_models.data.sources.column import need_columns
from crm_models.data.sources.ids import names_of, unique_names_of
from crm_models.data.sources.importer import Importer, cohort_of, distinct_labels, files_in, unpacked_name
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The genre flags at the end of each line of u.item, in order (from its README)."""

RATING = ("userId", "movieId", "rating", "timestamp")
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
    name = files["ratings"].name
    ratings = _read(files["ratings"], RATING)
    receipt = Receipt(accept_doubts=True)
    receipt.take_file(ratings, name, "interactions")
    events = pd.DataFrame(
        {
            CUSTOMER_ID: names_of(ratings, name, "userId"),
            ACTION: names_of(ratings, name, "movieId"),
            TIMESTAMP: moments_of(ratings, name, "timestamp", receipt),
            VALUE: numbers_of(ratings, name, "rating", receipt),
        }
    )
    receipt.notes.insert(0, f"MovieLens: {len(events):,} ratings; films are not recommended twice.")
    films = _films(files.get("films"), events[ACTION].cat.categories, receipt)
    users = _users(files.get("users"), receipt)
    return cohort_of("movielens", receipt, customers=users, interactions=events, actions=films, churn_days=churn_days)


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
        # The parser needs a one-character delimiter; titles contain no tabs.
        table = read_table(raw.replace(b"::", b"\t"), file.name, header=columns, delimiter="\t", quoted=False)
    elif kind == "u.data":
        table = read_table(raw, file.name, header=columns, delimiter="\t", quoted=False)
    elif kind in ("u.item", "u.user"):
        table = read_table(raw, file.name, header=columns, delimiter="|", quoted=False)
    else:
        table = read_table(raw, file.name)
        if table.shape[1] == len(columns) and str(table.columns[0]).isdecimal():  # a copy without its header
            table = read_table(raw, file.name, header=columns)
        table = _renamed(table, columns)
    need_columns(table, file.name, *(columns if columns is RATING else columns[:2]))
    return table


def _renamed(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with columns renamed to `columns` where only case or underscores differ (`user_id`)."""
    plain = {column.lower(): column for column in columns if column not in table}
    names = {c: plain.get(str(c).lower().replace("_", ""), c) for c in table.columns}
    return table.rename(columns=names)


def _users(file: Path | None, receipt: Receipt) -> pd.DataFrame | None:
    """The users with age, gender and occupation, if the release has them; postcodes are left out as almost unique."""
    if file is None:
        return None
    table = _read(file, PARTS["users"][unpacked_name(file)])
    receipt.take_file(table, file.name, "customers")
    return pd.DataFrame(
        {
            CUSTOMER_ID: unique_names_of(table, file.name, "userId"),
            "age": numbers_of(table, file.name, "age", receipt),
            "gender": table["gender"],
            "occupation": table["occupation"],  # text in one release, a code in the other
        }
    )


def _films(file: Path | None, rated: pd.Index, receipt: Receipt) -> pd.DataFrame:
    """One row per rated film, in order of film number."""
    ids = pd.Index(sorted(rated, key=_numeric_first), dtype="str")
    if file is None:
        receipt.note("No file of films; they are named by their number.")
        return pd.DataFrame({ACTION: ids, LABEL: "movie " + ids, REPEATABLE: False})
    films = _read(file, U_ITEM if unpacked_name(file) == "u.item" else FILM)
    receipt.take_file(films, file.name, "actions")
    if "Western" in films:
        films = films.assign(genres=_from_flags(films[list(GENRES_100K)]))
    films = films.assign(movieId=names_of(films, file.name, "movieId").astype("str"))
    known = films.drop_duplicates("movieId").set_index("movieId").reindex(ids)
    title = known["title"].where(known["title"].notna(), "movie " + pd.Series(ids, index=ids))
    table = pd.DataFrame({ACTION: ids, LABEL: distinct_labels(title, ids).to_numpy(), REPEATABLE: False})
    if "genres" in known:
        table["genres"] = known["genres"].replace("(no genres listed)", None).to_numpy()
    unrated, untitled = int((~films["movieId"].isin(ids)).sum()), int(known["title"].isna().sum())
    if unrated:
        receipt.leave_out(unrated, file.name, "films without ratings")
        receipt.note(f"Films without ratings, left out: {unrated:,}.")
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
