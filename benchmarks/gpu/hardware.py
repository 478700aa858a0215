"""The machine: names, versions, and the peak that its matrix products reach."""

from __future__ import annotations

import argparse
import os
import platform
import time
from typing import Any

import torch

SIZES = ((8192, 8192, 8192), (4096, 768, 3072), (4096, 384, 1536))  # rows, inner, columns


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """Hardware and software, TFLOP/s by precision, and the host's time for one launch."""
    import transformers

    from kdbench.runs import provenance

    device = torch.device(given.device)
    sizes = shapes(given.device, given.quick)
    return {
        "accelerator": provenance.accelerator(device.type), "processor": provenance.processor(),
        "cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tflops": {name: products(device, sizes, *setting) for name, setting in PRECISIONS.items()},
        "launch_us": launch(device),
    }


# name: dtype, torch's setting for fp32 products
PRECISIONS = {"bf16": (torch.bfloat16, "highest"), "fp32": (torch.float32, "highest"),
              "tf32": (torch.float32, "high")}


def shapes(device: str, quick: bool) -> tuple:
    """Rows, inner and columns of the products; small ones show that it runs."""
    return ((256, 256, 256),) if quick or device == "cpu" else SIZES


def products(device: torch.device, sizes: tuple, dtype: torch.dtype, fp32: str) -> dict[str, float]:
    """TFLOP/s of matrix products of random numbers, the median of nine, by shape."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(fp32)
    found = {}
    for rows, inner, columns in sizes:
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(inner, columns, device=device, dtype=dtype)
        spent = sorted(seconds(device, lambda a=a, b=b: torch.mm(a, b)) for _ in range(12))
        found[f"{rows}x{inner}x{columns}"] = float(f"{2 * rows * inner * columns / spent[4] / 1e12:.4g}")
    torch.set_float32_matmul_precision(before)
    return found


def launch(device: torch.device) -> float:
    """Microseconds of the host for an addition of two numbers, without waiting for its result."""
    x = torch.ones((), device=device)
    for _ in range(50):
        x + x
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(500):
        x + x
    spent = time.perf_counter() - begun
    synchronise(device)
    return round(1e6 * spent / 500, 2)


def seconds(device: torch.device, call: Any) -> float:
    """Wall clock of `call` up to the end of what it started."""
    synchronise(device)
    begun = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - begun


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
