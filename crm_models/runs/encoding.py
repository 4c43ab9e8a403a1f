"""A run's cohort as arrays mapped from disk, encoded part by part on any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from crm_models.core.engines import Engine, cores, engine_of
from crm_models.core.places import Place, address_of, here, place
from crm_models.data.cohort import Cohort
from crm_models.data.drift import conformed
from crm_models.data.features import CohortArrays
from crm_models.data.storage import Parts
from crm_models.data.streaming import Known, View, mapped
from crm_models.runs.folder import RunFolder

PARTS_ENCODED = 10
"""As many parts of a cohort are encoded in the time that one is planned."""


@dataclass(frozen=True, kw_only=True)
class EncodingJob:
    """Encode a cohort folder as a run sees it; run, cohort, allow_drift: as for `ScoringJob`."""

    run: str
    cohort: str
    view: View
    allow_drift: bool = False

    def open(self, threads: int | None) -> Encoding:
        """Open the cohort's tables."""
        with here(place(self.run)) as folder:
            return Encoding(RunFolder(folder), self)


class Encoding:
    """An encoding job that is open in this process."""

    def __init__(self, run: RunFolder, job: EncodingJob) -> None:
        self._parts, self._view, self._encoder = Parts(place(job.cohort)), job.view, run.encoder()
        self._schema = run.schema() if job.allow_drift else None

    def read(self, k: int) -> Cohort:
        """Part k as the run sees it."""
        part = self._parts[k]
        return self._view.part(part if self._schema is None else conformed(self._schema, part))

    def work(self, k: int, read: Cohort) -> tuple[CohortArrays, Known]:
        """Arrays of part k, and what has to be known of its customers."""
        return self._encoder.encode(read, read.as_of, self._view.now_days), Known.of(read)


def engine_to_encode(n_parts: int, threads: int | None) -> Engine:
    """This process, which reads a part while it encodes the one before; where they pay, several on this machine."""
    pairs = max(1, (threads or cores()) // 2)
    return engine_of("local", n_parts // PARTS_ENCODED, workers=None, address=None, threads=pairs)


def encoded(
    run: RunFolder, cohort: Place, view: View, engine: Engine, *, allow_drift: bool = False
) -> tuple[CohortArrays, Known]:
    """The arrays of all customers as `view` shows them, and what has to be known of them.

    The arrays are in files of the run folder, or of that of temporary files where nobody may write to the run folder.
    """
    known = list[Known]()
    job = EncodingJob(run=address_of(run.folder), cohort=address_of(cohort), view=view, allow_drift=allow_drift)

    def arrays() -> Iterator[CohortArrays]:
        for part, facts in engine.results(job, len(Parts(cohort))):
            known.append(facts)
            yield part

    folder = run.folder if os.access(run.folder, os.W_OK) else None
    return mapped(arrays(), folder), Known.joined(known)
