"""When a device has no memory left: how torch says so, and how a forward pass goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

Value = TypeVar("Value")

# what the errors that have no class of their own say
NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def out_of_memory(error: BaseException) -> bool:
    """Is this torch saying that a device, or the machine, has no memory left?"""
    message = str(error)
    said = any(words in message for words in NO_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError)


def free_cache(device: torch.device) -> None:
    """Give an accelerator's freed memory back to its driver."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def free_memory(device: torch.device) -> int:
    """Bytes of an accelerator that nobody holds; 0 where it does not say."""
    module = torch.get_device_module(device)
    return int(module.mem_get_info(device)[0]) if hasattr(module, "mem_get_info") else 0


@functools.cache
def total_memory(device: torch.device) -> int:
    """Bytes of an accelerator; 0 where it does not say."""
    module = torch.get_device_module(device)
    return int(module.mem_get_info(device)[1]) if hasattr(module, "mem_get_info") else 0


def in_halves(read: Callable[[list[int]], list[Value]], indices: list[int],
              device: torch.device) -> list[Value]:
    """`read(indices)`, one value an index; in two halves where memory runs out.

    `read` must not change anything before it is done.
    """
    try:
        return read(indices)
    except RuntimeError as error:
        if not out_of_memory(error) or len(indices) == 1:
            raise
    # outside the handler, so that the failed pass's tensors are let go
    free_cache(device)
    middle = len(indices) // 2
    first = in_halves(read, indices[:middle], device)
    return first + in_halves(read, indices[middle:], device)
