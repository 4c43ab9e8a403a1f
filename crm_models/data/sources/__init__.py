"""Sources of cohorts: generated ones, and importers of files.

To add an importer, write a module here that ends with `IMPORTER = Importer(...)` and add its name to `FORMS`; the
command line and the upload page read both.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from crm_models.data.cohort import Cohort
    from crm_models.data.sources.importer import Importer

FORMS = (
    "tables",
    "movielens",
    "amazon",
    "telco",
    "starbucks",
    "retail",
)
"""Known file formats; each is the name of its module."""


def importer_of(form: str) -> Importer:
    """The importer of a format, loaded on demand. Raises `ConfigError` if the format is unknown."""
    if form not in FORMS:
        raise ConfigError(f"form must be one of {', '.join(FORMS)}; found {form!r}")
    importer: Importer = import_module(f"crm_models.data.sources.{form}").IMPORTER
    return importer


def import_cohort(form: str, sources: Sequence[Path], **options: Any) -> Cohort:
    """A cohort from files of a known format; a zip of several files is read like a folder.

    Raises `ConfigError` for an unknown format or option, and `DataError` if there are no files.
    """
    from crm_models.data.sources.archives import unpacked

    importer = importer_of(form)
    if not sources:
        raise DataError(f"import {form}: expected files or a folder, found none")
    for option in options:
        if option not in importer.options:
            known = ", ".join(sorted(importer.options)) or "none"
            raise ConfigError(f"import {form} has no option {option!r}; it has {known}")
    with unpacked([Path(source) for source in sources]) as files:
        return importer.read(files, **options)
