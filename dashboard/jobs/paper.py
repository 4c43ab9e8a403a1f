"""The paper's re-run, kept in the workspace step by step: the page shows it while it goes on, and ever after.

It runs in a runner of its own beside the one for trainings (a queue in `WORKSPACE/paper`), so a demonstration never
waits for a training, and a refresh or a second viewer finds it as it is.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from crm_models.core.files import write_json

FOLDER = "paper"
RUN = "rerun"
SEEDS = (5, 20, 50)
DEFAULT_SEEDS = 20
SIGNALS = tuple(k / 10 for k in range(11))
CUSTOMERS = 3_000
"""Customers of the cohorts with signal: enough to pass Table II, few enough to train at eleven signals in a minute."""

ORDER = (1.0, 0.0, 0.5, 0.8, 0.2, 0.9, 0.6, 0.3, 0.7, 0.4, 0.1)
"""The ends and the middle first: they carry the story."""


def state_file(folder: Path) -> Path:
    """Where the state of the demonstration lies; folder: `WORKSPACE/paper`."""
    return Path(folder) / "demonstration.json"


def keep(folder: Path, seeds: int) -> None:
    """Re-run the paper over `seeds` seeds, then train the tiny models at every signal; each step is written at once.

    The state holds `wanted` (seeds), `seconds` (of the re-runs), `result` (as `paper.json`, over the seeds so far; None
    before the first), `lifelike` (signal to what `crm_models.paper.rerun.lifelike` gives), `stage` (`seeds`, `signals`,
    `done`) and `ended`; and `last`, the `result` and `ended` of the demonstration that was finished last, or None.
    """
    from crm_models.core.files import read_json
    from crm_models.models.runtime import prepare_torch
    from crm_models.paper.rerun import lifelike, rerun_steps

    prepare_torch(1)
    file, began = state_file(folder), time.perf_counter()
    before = read_json(file) if file.exists() else {}
    state: dict[str, Any] = {"wanted": seeds, "seconds": 0.0, "result": None, "stage": "seeds", "ended": None}
    # Same seeds, same machine, same numbers: what an earlier run found at a signal stands until it is found again.
    state["lifelike"], state["signals_done"] = before.get("lifelike", {}), 0
    finished = before.get("result") and before.get("stage") == "done"
    state["last"] = {k: before[k] for k in ("result", "ended")} if finished else before.get("last")
    write_json(file, state)  # what was finished last is shown until the first re-run of this one is there
    for state["result"] in rerun_steps(seeds):
        state["seconds"] = round(time.perf_counter() - began, 2)
        write_json(file, state)
    state["stage"] = "signals"
    for state["signals_done"], signal in enumerate(ORDER):
        write_json(file, state)
        state["lifelike"][str(signal)] = lifelike(signal, customers=CUSTOMERS)
    write_json(file, state | {"stage": "done", "signals_done": len(ORDER), "ended": time.time(), "last": None})
