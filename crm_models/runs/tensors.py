"""Safetensors files of a run, weights and checkpoints: written whole, with a checksum that is checked on reading.

The checksum covers names, shapes, values and the plain values beside them. Files of earlier versions have none.
Checking a file needs no torch, so that pages can do it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crm_models.core.errors import RunError
from crm_models.core.files import DAMAGED, new_file

if TYPE_CHECKING:
    from torch import Tensor

_CHECKSUM = "sha256"


def save_tensors(file: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str] | None = None) -> None:
    """Write tensors and the texts beside them: a kill leaves either the old file or the new one."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(value.detach().cpu().numpy(), order="C") for name, value in tensors.items()}
    meta = dict(meta or {})
    content = save(arrays, metadata=meta | {_CHECKSUM: _checksum(arrays, meta)})
    with new_file(file) as part:
        part.write_bytes(content)  # `save_file` hides a full disk behind its own error


def load_tensors(file: Path, what: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the texts beside them; `RunError` if the file is damaged. what: the content, for the message."""
    import torch

    arrays, meta = load_arrays(file, what, remedy)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, meta


def load_arrays(file: Path, what: str, remedy: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The same as numpy arrays, without torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as handle:
            meta = dict(handle.metadata() or {})
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, RuntimeError, OSError, *DAMAGED) as error:
        raise RunError(f"{file}: expected {what}, found a damaged file ({error}); {remedy}") from None
    checksum = meta.pop(_CHECKSUM, None)
    if checksum is not None and checksum != _checksum(arrays, meta):
        raise RunError(f"{file}: expected {what} as they were written, found them changed or damaged; {remedy}")
    return arrays, meta


def _checksum(arrays: Mapping[str, np.ndarray], meta: Mapping[str, str]) -> str:
    shapes = {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([shapes, meta], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
