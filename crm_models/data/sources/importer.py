"""What an importer is: one known form of files, and how they become a cohort."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crm_models.data.cohort import Cohort


@dataclass(frozen=True, kw_only=True)
class Importer:
    """A form of files, in words, and the function that reads them.

    title and files: for the upload page, as in "IBM Telco churn" and "Telco-Customer-Churn.csv". read: a function of
    the sources (files or folders) and, by keyword, the options it has.
    """

    title: str
    files: str
    read: Callable[..., Cohort]

    @property
    def options(self) -> dict[str, Any]:
        """The options of `read` with their defaults."""
        parameters = list(inspect.signature(self.read).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}
