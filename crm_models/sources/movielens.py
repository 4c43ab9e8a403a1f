"""MovieLens ratings: ratings.csv with movies.csv, and the older u.data with u.item and ratings.dat with movies.dat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.errors import DataError
from crm_models.records import Cohort
from crm_models.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.sources.inactivity import label_by_inactivity
from crm_models.sources.reading import (
    decode,
    moments_of,
    names_of,
    need_columns,
    numbers_of,
    read_bytes,
    read_table,
)

RATINGS = ("ratings.csv", "ratings.dat", "u.data")
MOVIES = ("movies.csv", "movies.dat", "u.item")

GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The flags at the end of a line of u.item, in their order (from its README)."""


def import_movielens(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Ratings as interactions (value: stars), films as actions that are recommended once; no churn labels."""
    files = _files(sources)
    ratings = _ratings(files["ratings"])
    events = pd.DataFrame(
        {
            CUSTOMER_ID: names_of(ratings, files["ratings"].name, "userId"),
            ACTION: names_of(ratings, files["ratings"].name, "movieId"),
            TIMESTAMP: moments_of(ratings, files["ratings"].name, "timestamp"),
            VALUE: numbers_of(ratings, files["ratings"].name, "rating"),
        }
    )
    notes = [f"MovieLens: {len(events):,} ratings; films are not recommended twice."]
    films = _movies(files.get("movies"), events, notes)
    cohort = Cohort.build(
        name="movielens", source="movielens", customers=None, interactions=events, actions=films, notes=notes
    )
    return label_by_inactivity(cohort, churn_days) if churn_days else cohort


def _files(sources: Sequence[Path]) -> dict[str, Path]:
    """The file of ratings and, where there is one, of films."""
    found: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise DataError(f"{source}: expected a file or folder, found none")
        for kind, names in (("ratings", RATINGS), ("movies", MOVIES)):
            here = [source / n for n in names] if source.is_dir() else [source] if source.name in names else []
            there = [file for file in here if file.is_file()]
            if there:
                found[kind] = there[0]
        if source.is_file() and source.name not in RATINGS + MOVIES and "ratings" not in found:
            found["ratings"] = source
    if "ratings" not in found:
        raise DataError(f"{sources[0]}: expected {', '.join(RATINGS)}, found none of them")
    return found


def _ratings(file: Path) -> pd.DataFrame:
    raw = read_bytes(file)
    header = ["userId", "movieId", "rating", "timestamp"]
    if file.suffix == ".dat":
        table = _double_colons(decode(raw, file.name), file.name, header)
    elif file.name == "u.data":
        table = read_table(raw, file.name, header=header)
    else:
        table = read_table(raw, file.name)
    need_columns(table, file.name, *header)
    return table


def _movies(file: Path | None, events: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Films that somebody rated: title as label, genres as feature."""
    seen = pd.DataFrame({ACTION: sorted(events[ACTION].unique(), key=_numeric_first)}, dtype="str")
    if file is None:
        notes.append("No file of films: they are named by their number.")
        return pd.DataFrame({ACTION: seen[ACTION], LABEL: "movie " + seen[ACTION], REPEATABLE: False})
    raw = read_bytes(file)
    if file.name == "u.item":
        films = _u_item(decode(raw, file.name), file.name)
    elif file.suffix == ".dat":
        films = _double_colons(decode(raw, file.name), file.name, ["movieId", "title", "genres"])
    else:
        films = read_table(raw, file.name)
    need_columns(films, file.name, "movieId", "title")
    films = films.assign(movieId=names_of(films, file.name, "movieId")).drop_duplicates("movieId").set_index("movieId")
    known = films.reindex(seen[ACTION])
    title = known["title"].where(known["title"].notna(), "movie " + pd.Series(known.index, index=known.index))
    table = pd.DataFrame({ACTION: seen[ACTION], LABEL: title.to_numpy(), REPEATABLE: False})
    # Two films may share a title; the number tells them apart wherever labels stand alone.
    doubled = table[LABEL].duplicated(keep=False)
    table[LABEL] = table[LABEL].where(~doubled, table[LABEL] + " [" + table[ACTION] + "]")
    if "genres" in known:
        table["genres"] = known["genres"].replace("(no genres listed)", None).to_numpy()
    unrated = len(films) - int(known["title"].notna().sum())
    if unrated:
        notes.append(f"{unrated:,} films that nobody rated are left out.")
    return table


def _double_colons(text: str, name: str, header: list[str]) -> pd.DataFrame:
    """The `::` form of MovieLens 1M and 10M."""
    rows = [line.split("::") for line in text.splitlines() if line.strip()]
    for k, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{name} row {k + 1}: expected {len(header)} parts between `::`, found {len(row)}")
    return pd.DataFrame(rows, columns=header)


def _u_item(text: str, name: str) -> pd.DataFrame:
    """u.item: number, title, dates and an address, then one flag per genre, between bars."""
    rows = []
    for k, line in enumerate(text.splitlines()):
        parts = line.split("|")
        if not line.strip():
            continue
        if len(parts) < 5:
            raise DataError(f"{name} row {k + 1}: expected number, title and genres between bars, found {line[:40]!r}")
        genres = [genre for genre, flag in zip(GENRES_100K, parts[5:], strict=False) if flag.strip() == "1"]
        rows.append((parts[0], parts[1], "|".join(genres) or None))
    return pd.DataFrame(rows, columns=["movieId", "title", "genres"])


def _numeric_first(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)
