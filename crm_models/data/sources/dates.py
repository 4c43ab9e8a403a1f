"""Text cells to dates: finds the one of the usual layouts that fits the whole column, and the time zones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M:%S.%f %p")
DAYS = (
    *("%Y-%m-%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%m %d, %Y", "%d/%b/%Y", "%b-%d-%Y"),
    *("%d%b%Y", "%b %d %Y", "%b %Y", "%b-%Y", "%m/%Y", "%Y-%b-%d"),
    *("%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y"),
    *("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
    *("%y/%m/%d", "%y-%m-%d", "%y.%m.%d"),
)
"""Date layouts: unambiguous ones, then day-first, month-first, and year-first with two digits; a year of four digits in
front is rewritten as ISO."""
MANY_DATES, FEW_YEARS, MANY_YEARS = 20, 3, 10
"""From so many distinct dates on, those within a few years are likelier than the same digits spread over many."""

SAMPLE = 500
"""Number of distinct cells used to choose the layouts that are tried on all cells."""

DAY_FIRST = (
    r"^(?:(?:1[3-9]|2[0-9]|3[01])[/.-](?:0?[1-9]|1[0-2])[/.-][0-9]{4}"
    r"|(?:29|3[01])[/.-](?:0?[1-9]|1[0-2])[/.-][0-9]{2})(?: .*)?$"
)
MONTH_FIRST = r"^(?:0?[1-9]|1[0-2])[/.-](?:1[3-9]|2[0-9]|3[01])[/.-](?:[0-9]{2}|[0-9]{4})(?: .*)?$"
"""What a cell of another column looks like that proves the order of day and month in the file: 26/01/05
may be of 2026."""
AM_PM = r"[0-9] ?[AaPp]\.?[Mm]\.?(?: ?[A-Z]{2,5}| ?[+-][0-9:]+)?$"

MONTHS = {
    "jan": "january januar janv janvier enero ene gennaio gen januari",
    "feb": "february februar févr février febrero febbraio februari fév",
    "mar": "march märz mrz mars marzo maart mär",
    "apr": "april avril abril abr aprile avr",
    "may": "mai mayo maggio mag mei",
    "jun": "june juni juin junio giugno giu",
    "jul": "july juli juil juillet julio luglio lug",
    "aug": "august août agosto ago augustus",
    "sep": "september sept septembre septiembre settembre set",
    "oct": "october oktober okt octobre octubre ottobre ott",
    "nov": "november novembre noviembre",
    "dec": "december dezember dez décembre déc diciembre dic dicembre",
}
"""Names of months, in full and in other languages."""
_ENGLISH = {word: english for english, words in MONTHS.items() for word in words.split()}

WEEKDAYS = (
    "mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday sunday tues thur thurs "
    "mo di mi do fr sa so montag dienstag mittwoch donnerstag freitag samstag sonntag "
    "lun mer jeu ven sam dim lundi mardi mercredi jeudi vendredi samedi dimanche "
    "lunes martes miércoles jueves viernes sábado domingo lunedì martedì mercoledì giovedì venerdì sabato domenica"
)
_WEEKDAY = rf"^(?:{'|'.join(sorted(WEEKDAYS.split(), key=len, reverse=True))})\b[.,]*\s+(?=\S)"

ABBREVIATIONS = {
    **dict.fromkeys(("Z", "UTC", "GMT", "WET"), "+00:00"),
    **dict.fromkeys(("CET", "MEZ", "WEST"), "+01:00"),
    **dict.fromkeys(("CEST", "MESZ", "EET"), "+02:00"),
    "EEST": "+03:00",
    "MSK": "+03:00",
    "JST": "+09:00",
    "KST": "+09:00",
    "AEST": "+10:00",
    "AEDT": "+11:00",
    "EST": "-05:00",
    "EDT": "-04:00",
    "CDT": "-05:00",
    "MST": "-07:00",
    "MDT": "-06:00",
    "PST": "-08:00",
    "PDT": "-07:00",
}
"""Names of time zones that mean one offset; CST, IST and BST mean several, and stay unread."""
_OFFSET = r"\s?([+-][0-9]{2}(?::?[0-9]{2})?)$"
_PLACE = r"\s?\[?([A-Z][A-Za-z]+/[A-Za-z_/+-]+)\]?$"


@dataclass(frozen=True, kw_only=True)
class Dates:
    """Distinct cells as dates, NaT where a cell is none. zoned: whether each cell says its time zone.

    others: the dates in other orders that fit the same cells, `month_first` or `year_first`.
    """

    values: pd.Series
    zoned: pd.Series
    others: dict[str, pd.Series] = field(default_factory=dict)


def look_dated(cells: pd.Series) -> bool:
    """Whether a sample of distinct cells look more like dates than like numbers or words."""
    sample = cells.iloc[:SAMPLE]
    alike = sample.str.contains(r"[0-9][^0-9]+[0-9]|/Date\(", regex=True)
    alike &= ~sample.str.fullmatch(r"[+-]?[0-9]*[.,]?[0-9]*(?:[eE][+-]?[0-9]+)?")
    alike |= sample.str.fullmatch(r"[^\W\d_]{3,9}[. -]+[0-9]{4}")
    return bool(alike.mean() > 0.5)


def in_utc(dates: pd.Series) -> pd.Series:
    """Dates of any time zone as those of UTC without a zone."""
    return dates if dates.dt.tz is None else dates.dt.tz_convert("UTC").dt.tz_localize(None)


def dates_of(cells: pd.Series) -> Dates:
    """Distinct cells as dates in the layout that fits most; of several that fit alike, day-first. Zones become UTC."""
    sample = cells.iloc[:: max(1, len(cells) // SAMPLE)]
    if _normalised(sample).equals(sample) and _without_zones(sample)[1].isna().all():
        best, others = _in_best_layout(cells)
        if best.notna().all():  # most columns: nothing has to be rewritten, which takes ten times as long
            zoned = cells.str.contains(r":.*(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$", regex=True)
            return Dates(values=best, others=others, zoned=zoned)
    ticks = cells.str.extract(r"^/Date\((-?[0-9]+)[+0-9]*\)/$")[0]
    if ticks.notna().mean() > 0.5:  # milliseconds of .NET
        values = pd.to_datetime(pd.to_numeric(ticks), unit="ms").astype("datetime64[us]")
        return Dates(values=values, zoned=ticks.notna())
    clean, offset = _without_zones(_normalised(cells))
    best, others = _in_best_layout(clean)
    zoned = offset.notna()
    shift = pd.to_timedelta(offset.fillna(0.0), unit="s")
    places = cells.str.extract(_PLACE)[0].where(~zoned)
    for place in places.dropna().unique():
        here = places == place
        best[here] = _local(best[here], place)
        for other in others.values():
            other[here] = _local(other[here], place)
    zoned |= places.notna()
    return Dates(
        values=(best - shift).astype("datetime64[us]"),
        others={order: (other - shift).astype("datetime64[us]") for order, other in others.items()},
        zoned=zoned & best.notna(),
    )


def _in_best_layout(cells: pd.Series) -> tuple[pd.Series, dict[str, pd.Series]]:
    """The cells in the layout that fits most, and in other orders that fit the same cells and differ."""
    best, others = read_as(cells, "ISO8601"), dict[str, pd.Series]()
    if best.notna().all():
        return best, others
    sample = cells.iloc[:SAMPLE]
    n_fitting = {layout: int(read_as(sample, layout).notna().sum()) for layout in _likely_layouts(sample)}
    most = max((n for layout, n in n_fitting.items() if not layout.startswith("%y")), default=0)
    likely = [k for k, n in n_fitting.items() if n and (n == most or (n > most and k.startswith("%y")))]
    for layout in likely:
        dates = read_as(cells, layout)
        # One mistyped day among others must not make it a year.
        more = dates.notna().sum() - best.notna().sum()
        if more > (0.2 * len(cells) if layout.startswith("%y") else 0):
            best, others = dates, {}
        elif dates.notna().equals(best.notna()) and not dates.equals(best):
            others.setdefault("year_first" if layout.startswith("%y") else "month_first", dates)
    if "year_first" in others:
        return _by_years(best, others)
    return best, others


def _by_years(best: pd.Series, others: dict[str, pd.Series]) -> tuple[pd.Series, dict[str, pd.Series]]:
    """The orders that are left, where dates that are to come or years far apart speak against one."""
    year_first = others["year_first"]
    without = {order: dates for order, dates in others.items() if order != "year_first"}
    soon = pd.Timestamp.now() + pd.Timedelta(days=366)
    if year_first.max() > soon >= best.max():
        return best, without
    if len(best) >= MANY_DATES:
        first, last = (np.ptp(dates.dt.year.dropna()) for dates in (year_first, best))
        if first > MANY_YEARS and last <= FEW_YEARS:
            return best, without
        if last > MANY_YEARS and first <= FEW_YEARS:
            return year_first, {}
    return best, others


def _normalised(cells: pd.Series) -> pd.Series:
    """Cells rewritten as the layouts expect them: English months, no weekday, the year in front as in ISO."""

    def replaced(pattern: str, by: str, flags: int = 0) -> None:
        nonlocal cells
        cells = cells.str.replace(pattern, by, regex=True, flags=flags)

    cells = cells.str.strip()
    if not cells.str.isascii().all():
        cells = cells.str.normalize("NFKC")
        replaced(r"([0-9]+)[年년]\s?([0-9]+)[月월]\s?([0-9]+)[日일]", r"\1-\2-\3")
        replaced(r"([0-9]+)[時时시]\s?([0-9]+)[分분](?:\s?([0-9]+)[秒초])?", r"\1:\2:\3")
        replaced(r":$", "")
    replaced(r"\s+", " ")
    replaced(r"([0-9]) ?([AaPp])\.?[Mm]\.?$", r"\1 \2M")
    replaced(r"(:[0-9]{2}),([0-9]{1,6})", r"\1.\2")
    # Signs of programs: [31/Jan/2026:14:05:00 +0000] of web servers, 2.05.00 PM of Oracle, (UTC) of JavaScript.
    replaced(r"^\[(.*)\]$|\s?(?:\([^()]*\)|Uhr|Z?\[UTC\])$", r"\1")
    replaced(r"([0-9]{4}):([0-9]{2}:)", r"\1 \2")
    replaced(r"([0-9]{2})\.([0-9]{2})\.([0-9]{2})(\.[0-9]+)?(?= [AP]M$)", r"\1:\2:\3\4")
    replaced(r"(:[0-9]{2}\.[0-9]{6})[0-9]{1,3}\b", r"\1")
    replaced(r", ?(?=[0-9]{1,2}:)", " ")
    # And of DB2 (2026-01-05-10.30.00.000000) and of people (05.01.2026 10.30, 10h30).
    if cells.str.contains(r"-[0-9]{2}\.[0-9]{2}\.|[0-9]t[0-9]| [0-9]{1,2}(?:\.| ?[hH] ?)[0-9]{2}$", regex=True).any():
        replaced(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})-([0-9]{2})\.([0-9]{2})\.([0-9]{2})\b", r"\1 \2:\3:\4")
        replaced(r"([0-9]{4}) ([0-9]{1,2})\.([0-9]{2})$", r"\1 \2:\3")
        replaced(r" ([0-9]{1,2}) ?[hH] ?([0-9]{2})$", r" \1:\2")
        replaced(r"(?<=[0-9])t([0-9:.]+)", r"T\1")
        replaced(r"(T[0-9:.]+)z$", r"\1Z")
    if cells.str.contains(r"[^\W\d_]{2}", regex=True).any():
        replaced(_WEEKDAY, "", re.IGNORECASE)
        replaced(r"([0-9])(?:st|nd|rd|th|er|\.)(?=,? [^\W\d_]|, [0-9])", r"\1", re.IGNORECASE)
        replaced(r"(?<=[^\W\d_]{3} )([0-9]{1,2})(?:st|nd|rd|th)\b", r"\1", re.IGNORECASE)
        replaced(r" (?:de|of|del) ", " ")
        cells = cells.str.replace(r"[^\W\d_]{3,}\.?", _in_english, regex=True)
        replaced(r"^([A-Za-z]{3,9} [0-9]{1,2}) ([0-9:]+) ([0-9]{4})$", r"\1 \3 \2")
    if cells.str.contains(r"^[0-9]{4}[-/. ] ?[0-9]{1,2}[-/. ]", regex=True).any():
        day = r"^([0-9]{4})(?:[-/ ]|\. ?)([0-9]{1,2})(?:[-/ ]|\. ?)([0-9]{1,2})(?![0-9])\.?"
        cells = cells.str.replace(day, _iso_day, regex=True)
        replaced(r"^([0-9-]{10}) ([0-9]:)", r"\1 0\2")
    return cells


def _in_english(match: re.Match[str]) -> str:
    return _ENGLISH.get(match.group().lower().rstrip("."), match.group())


def _iso_day(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    return f"{year}-{month:>02}-{day:>02}"


def _without_zones(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Cells without their time zones, and the seconds by which each is ahead of UTC; NaN where it says none."""
    has_clock = cells.str.contains(r"[0-9]:[0-9]|T[0-9]{4}", regex=True)
    if not has_clock.any():
        return cells, pd.Series(np.nan, index=cells.index)
    zones = "|".join(sorted(ABBREVIATIONS, key=len, reverse=True))
    named = cells.str.extract(rf"(?<=[0-9M ])\s?({zones})$")[0]
    cells = cells.where(~has_clock, cells.str.replace(_PLACE, "", regex=True))
    bare = cells.str.replace(rf"\s?(?<=[0-9M ])(?:{zones})(?=[+-]|$)", "", regex=True)
    cells = cells.where(~has_clock, bare.str.strip())
    written = cells.str.extract(_OFFSET)[0].where(has_clock & cells.str.contains(":", regex=False))
    cells = cells.where(written.isna(), cells.str.replace(_OFFSET, "", regex=True))
    written = written.fillna(named.map(ABBREVIATIONS).where(has_clock))
    digits = written.str.replace(r"[^0-9]", "", regex=True).str.pad(4, side="right", fillchar="0")
    seconds = pd.to_numeric(digits.str.slice(0, 2)) * 3600 + pd.to_numeric(digits.str.slice(2, 4)) * 60
    seconds = seconds.astype("float64")
    return cells, seconds.where(~written.str.startswith("-").fillna(False).astype(bool), -seconds)


def _local(dates: pd.Series, place: str) -> pd.Series:
    """Local times of a place such as Europe/Berlin as UTC; the hour that a clock shows twice is taken for the earlier.

    NaT if there is no such place.
    """
    try:
        zone = ZoneInfo(place)
    except (ZoneInfoNotFoundError, ValueError):
        return dates.where(dates.isna())
    earlier = np.ones(len(dates), dtype=bool)
    return dates.dt.tz_localize(zone, ambiguous=earlier, nonexistent="shift_forward").dt.tz_convert(None)


def _likely_layouts(cells: pd.Series) -> list[str]:
    """The layouts with the punctuation of most cells: trying all layouts takes a hundred times as long."""
    shapes = cells.str.replace(r"[0-9]+", "0", regex=True).str.replace(r"[A-Za-z]+", "a", regex=True)
    shape = str(shapes.mode().iloc[0]) if len(shapes) else ""
    has_am_pm = shape.endswith("a") and ":" in shape
    clocks = [clock for clock in CLOCKS if clock.count(":") == shape.count(":") and ("%p" in clock) == has_am_pm]
    day = re.sub(r" 0(?::.*)?$", "", shape) if ":" in shape else shape
    return [
        layout + clock
        for layout in DAYS
        for clock in clocks
        if all((mark in layout) == (mark in day) for mark in "/.-,") and ("b" in layout.lower()) == ("a" in day)
    ]


_CLOCK = r"^([0-9]+):([0-5][0-9])(?::([0-5][0-9](?:[.,][0-9]+)?))?(?: ?([AaPp])\.?[Mm]\.?)?$"


def clocks_of(cells: pd.Series, *, digits: bool = False) -> pd.Series | None:
    """(D,) hours of times of day or durations such as 10:30, 2:05:00 PM and 30:00:00; None unless all cells are such.

    digits: 1030 and 915 are times of day, too.
    """
    if digits and cells.str.fullmatch("[0-9]{1,4}").all() and (cells.str.len() > 2).mean() > 0.5:
        cells = cells.str.zfill(4).str.replace(r"^(..)(..)$", r"\1:\2", regex=True)
    parts = cells.str.extract(_CLOCK)
    if not len(cells) or parts[0].isna().any():
        return None
    hours, minutes, seconds = (pd.to_numeric(parts[k].str.replace(",", ".")).fillna(0.0) for k in range(3))
    half = parts[3].str.lower()
    hours = hours.where(half.isna(), hours % 12 + 12.0 * (half == "p"))
    return hours + minutes / 60 + seconds / 3600


def read_as(cells: pd.Series, layout: str) -> pd.Series:
    """Cells in one `strptime` layout as datetime64[us], zones converted to UTC; NaT where it does not fit."""
    try:
        dates = pd.to_datetime(cells, format=layout, errors="coerce", utc=True)
        return dates.dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
