"""Re-runs the paper and writes each step to the workspace, so that the page can show it during and after the re-run.

It has its own queue (in `WORKSPACE/paper`) and worker, so a demonstration never waits for a training. A refresh or a
second viewer sees the same state.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from crm_models.core.errors import CrmError
from crm_models.core.files import read_json, write_json
from dashboard.jobs.queue import remove_file

FOLDER = "paper"
RUN = "rerun"
SEEDS = (5, 20, 50)
DEFAULT_SEEDS = 20
SIGNALS = tuple(k / 10 for k in range(11))
CUSTOMERS = 3_000
"""Customers per cohort with signal: enough to exceed Table II, few enough to train at eleven signals in a minute."""

STAGES = ("seeds", "signals", "done")
_KEYS = {"wanted", "seconds", "result", "lifelike", "signals_done", "stage", "ended"}

ORDER = (1.0, 0.0, 0.5, 0.8, 0.2, 0.9, 0.6, 0.3, 0.7, 0.4, 0.1)
"""Order of training: both ends and the middle first, because they show the most."""


def state_file(folder: Path) -> Path:
    """The file with the state of the re-run; folder: `WORKSPACE/paper`."""
    return Path(folder) / "demonstration.json"


def is_state(content: Any) -> bool:
    """Whether this is a state as `keep` writes it, and not what is left of a damaged file."""
    if not isinstance(content, dict) or not set(content) >= _KEYS:
        return False
    results = [content["result"], (content.get("last") or {}).get("result")]
    return content["stage"] in STAGES and all(r is None or (isinstance(r, dict) and "seeds" in r) for r in results)


def keep(folder: Path, seeds: int) -> None:
    """Re-run the paper over `seeds` seeds, then train the small models at every signal; write the state each time.

    Keys of the state: `wanted` (seeds), `seconds` (of the re-runs), `result` (as `paper.json`, over the seeds so far;
    None before the first), `lifelike` (signal -> result of `crm_models.paper.rerun.lifelike`), `signals_done`, `stage`
    (`seeds`, `signals`, `done`), `ended`, and `last` (`result` and `ended` of the last finished re-run, or None).
    """
    from crm_models.models.runtime import prepare_torch
    from crm_models.paper.rerun import lifelike, rerun_steps

    prepare_torch(1)
    file, began = state_file(folder), time.perf_counter()
    previous = _previous(file)
    state: dict[str, Any] = {"wanted": seeds, "seconds": 0.0, "result": None, "stage": "seeds", "ended": None}
    # Same seeds on the same machine give the same numbers, so earlier results per signal stay valid until replaced.
    state["lifelike"], state["signals_done"] = previous.get("lifelike", {}), 0
    finished = previous.get("result") and previous.get("stage") == "done"
    state["last"] = {k: previous[k] for k in ("result", "ended")} if finished else previous.get("last")
    write_json(file, state)  # the page shows `last` until the first seed is done
    for state["result"] in rerun_steps(seeds):
        state["seconds"] = round(time.perf_counter() - began, 2)
        write_json(file, state)
    state["stage"] = "signals"
    for state["signals_done"], signal in enumerate(ORDER):
        write_json(file, state)
        state["lifelike"][str(signal)] = lifelike(signal, customers=CUSTOMERS)
    write_json(file, state | {"stage": "done", "signals_done": len(ORDER), "ended": time.time(), "last": None})


def _previous(file: Path) -> dict[str, Any]:
    """The state of the last re-run; empty if there is none, or a damaged one, which is replaced."""
    try:
        content = read_json(file)
    except (CrmError, OSError):
        remove_file(file)
        return {}
    return content if is_state(content) else {}
