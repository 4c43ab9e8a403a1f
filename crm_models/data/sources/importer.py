"""The `Importer` type: a known file format and the function that reads it as a cohort."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crm_models.data.cohort import Cohort


@dataclass(frozen=True, kw_only=True)
class Importer:
    """A file format: its name, the files it expects, and the function that reads them.

    title and files: texts for the upload page, such as "IBM Telco churn" and "Telco-Customer-Churn.csv". read: takes
    the sources (files or folders), and its options as keywords.
    """

    title: str
    files: str
    read: Callable[..., Cohort]

    @property
    def options(self) -> dict[str, Any]:
        """The options of `read` with their defaults."""
        parameters = list(inspect.signature(self.read).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}
