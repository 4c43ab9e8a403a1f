"""Where cohorts come from. A new importer is a module here with an `import_...` function, and a line in `IMPORTERS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.cohort import Cohort
from crm_models.data.sources.amazon import import_amazon
from crm_models.data.sources.archives import unpacked
from crm_models.data.sources.movielens import import_movielens
from crm_models.data.sources.retail import import_retail
from crm_models.data.sources.starbucks import import_starbucks
from crm_models.data.sources.tables import import_tables
from crm_models.data.sources.telco import import_telco

Importer = Callable[..., Cohort]

IMPORTERS: dict[str, Importer] = {
    "tables": import_tables,
    "movielens": import_movielens,
    "amazon": import_amazon,
    "telco": import_telco,
    "starbucks": import_starbucks,
    "retail": import_retail,
}
"""Form to importer: a function of the sources and, by keyword, the options it knows."""


def import_cohort(form: str, sources: Sequence[Path], **options: Any) -> Cohort:
    """A cohort from files of a known form; a zip of several files counts as the folder it holds.

    `ConfigError` for an unknown form, or an option that the form has not.
    """
    importer = IMPORTERS.get(form)
    if importer is None:
        raise ConfigError(f"form must be one of {', '.join(IMPORTERS)}; found {form!r}")
    if not sources:
        raise DataError(f"import {form}: expected files or a folder, found none")
    known = set(inspect.signature(importer).parameters) - {"sources"}
    for option in options:
        if option not in known:
            has = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"import {form} has no option {option!r}; it has {has}")
    with unpacked([Path(source) for source in sources]) as files:
        return importer(files, **options)
