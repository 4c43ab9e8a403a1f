"""Cohorts: drawn, imported, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.errors import ConfigError
from crm_models.core.files import absolute
from crm_models.data.cohort import Cohort
from crm_models.data.storage import parts, save_cohort

if TYPE_CHECKING:
    from crm_models.data.checks import Finding


def generate(
    out: Path | str,
    *,
    scenario: str,
    customers: int | None = None,
    signal: float = 1.0,
    seed: int = 0,
    events: int | None = None,
) -> Cohort:
    """Draw a synthetic cohort and save it, with its truth, as the folder `out`.

    scenario: `lifelike`, or `paper`, `movielens`, `amazon`, `churn` (see `crm_models.data.sources.synthetic`).
    customers: by default 5,000 for `lifelike`, 100 for the others. signal: 0 (nothing to learn) to 1. events: the
    length of every history.

    >>> from crm_models import workflow
    >>> cohort = workflow.generate("workspace/demo", scenario="lifelike", customers=60)
    >>> cohort.n_customers, cohort.has_labels
    (60, True)
    """
    from crm_models.data.sources.synthetic import ScenarioSettings
    from crm_models.data.sources.synthetic import generate as draw

    given: dict[str, Any] = {"scenario": scenario, "customers": customers, "signal": signal, "seed": seed}
    cohort, truth = draw(ScenarioSettings(**given, events=events))
    save_cohort(cohort, Path(out), extra={"truth.json": truth.to_json()})
    return cohort


def import_files(out: Path | str, form: str, sources: Sequence[Path | str], **options: Any) -> Cohort:
    """Read files of a known form (one of `crm_models.data.sources.FORMS`) and save them as the cohort folder `out`.

    options: those of the importer, as in `churn_days=90` or `columns={"customer_id": "userId"}`.

    >>> from pathlib import Path
    >>> from crm_models import workflow
    >>> _ = Path("customers.csv").write_text("customer_id,churned,age\\nann,no,41\\nbob,yes,29\\n")
    >>> cohort = workflow.import_files("workspace/mine", "tables", ["customers.csv"])
    >>> cohort.customers["churned"].tolist()
    [False, True]
    """
    from crm_models.data.sources import import_cohort

    if absolute(out) in [absolute(source) for source in sources]:
        raise ConfigError(f"{out}: --out would replace what is imported; choose another --out")
    cohort = import_cohort(form, [Path(source) for source in sources], **options)
    save_cohort(cohort, Path(out))
    return cohort


def import_sql(out: Path | str, *, tables: Sequence[str] = (), queries: Sequence[str] = (), **options: Any) -> Cohort:
    """Read tables and queries of the database in `CRM_DATABASE_URL` and save them as the cohort folder `out`.

    options: those of `import tables`, as in `churn_days=90`.

    >>> import duckdb, os
    >>> from crm_models import workflow
    >>> with duckdb.connect("crm.duckdb") as database:
    ...     _ = database.execute("CREATE TABLE customers AS SELECT 'ann' AS customer_id, 41 AS age")
    >>> os.environ["CRM_DATABASE_URL"] = "duckdb:///crm.duckdb"
    >>> workflow.import_sql("workspace/base", tables=["customers"]).feature_columns
    ['age']
    >>> del os.environ["CRM_DATABASE_URL"]
    """
    from crm_models.data.sources.sql import import_sql as read

    cohort = read(tables=tables, queries=queries, **options)
    save_cohort(cohort, Path(out))
    return cohort


def check(folder: Path | str) -> list[Finding]:
    """Findings of the data check: what in a cohort will spoil or weaken results, problems first.

    >>> from crm_models import workflow
    >>> [finding.title for finding in workflow.check("workspace/demo")]
    ['Few customers', 'Few of one class', 'Short histories', 'Customers without a history']
    """
    from crm_models.data.checks import check_cohort

    return check_cohort(parts(Path(folder)))
