"""What the processes of one training (torchrun) tell each other from the CPU.

Gradients go from GPU to GPU, by NCCL. Its waits keep a GPU busy and end after ten minutes. Counts,
and the waits for a lock or a measurement of the main process, go through gloo: the CPU sleeps there
and the wait may take days.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

Value = TypeVar("Value")

# of a process that is alone in its own work: an evaluation, the signals of a large teacher
NCCL_WAIT = timedelta(hours=3)
# of the main process's locks: another run may train under them
GLOO_WAIT = timedelta(days=7)


def process_group_settings() -> InitProcessGroupKwargs:
    """What `accelerate` opens the processes' own group with."""
    return InitProcessGroupKwargs(timeout=NCCL_WAIT)


def cpu_group() -> Any:
    """The gloo group of all processes; the first call makes it, on all of them."""
    return _group_beside(dist.group.WORLD)


@functools.lru_cache(maxsize=1)
def _group_beside(_world: Any) -> Any:
    return dist.new_group(backend="gloo", timeout=GLOO_WAIT)


def summed(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """Each value summed over the processes, without a wait for a GPU."""
    if accelerator.num_processes == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total, group=cpu_group())
    return total.tolist()


def agreed(accelerator: Accelerator, value: Value) -> Value:
    """What the main process says, on every process."""
    if accelerator.num_processes == 1:
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values, src=0, group=cpu_group(), device=torch.device("cpu"))
    return values[0]


def wait_for_all(accelerator: Accelerator) -> None:
    """Return when every process is here."""
    if accelerator.num_processes > 1:
        dist.barrier(group=cpu_group())
