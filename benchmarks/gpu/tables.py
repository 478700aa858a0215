"""The figures of run.py as markdown."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate


def markdown(figures: dict[str, Any]) -> str:
    """All tables of a file of figures."""
    parts = [f"Measured on {figures.get('date', '?')}."]
    for name, table in TABLES.items():
        found = figures.get(name)
        if found is None:
            continue
        failed = found.get("failed") if isinstance(found, dict) else None
        parts.append(f"**{name}**: " + (f"FAILED: {failed}" if isinstance(failed, str)
                                        else table(found)))
    return "\n\n".join(parts)


def machine(found: dict[str, Any]) -> str:
    """One paragraph and the peaks."""
    own = found["accelerator"] or {"name": "no accelerator"}
    peaks = [(name, *shapes.values()) for name, shapes in found["tflops"].items()]
    head = ("TFLOP/s", *next(iter(found["tflops"].values())))
    words = ", ".join(f"{key} {value}" for key, value in own.items())
    return (f"{words}; {found['processor']}, {found['cores']} cores; Python {found['python']}, "
            f"torch {found['torch']}, transformers {found['transformers']}; "
            f"{found['launch_us']} µs to launch an addition\n\n" + grid(peaks, head))


def equality(found: dict[str, Any]) -> str:
    """A row a method."""
    rows = [(name, one["failed"], "") if "failed" in one else
            (name, one["steps"], f"{one['largest_difference']:.1e}") for name, one in found.items()]
    return ("losses in fp32 without dropout against the CPU's\n\n"
            + grid(rows, ("run", "steps", "largest relative difference")))


def waits(found: dict[str, Any]) -> str:
    """A row a training."""
    rows = []
    for name, stages in found.items():
        if "failed" in stages:
            rows.append((name, "", stages["failed"]))
            continue
        for stage, places in stages.items():
            said = ", ".join(f"{count} x {place}" for place, count in places.items()) or "0"
            rows.append((name, stage, said))
    return "in a step\n\n" + grid(rows, ("run", "stage", "synchronising calls"))


def smoke(found: dict[str, Any]) -> str:
    """One sentence."""
    return (f"{found['cells']} cells with --workers 2 in {found['seconds']} s; again, with nothing "
            f"to train, in {found['again_seconds']} s")


def training(found: list[dict[str, Any]]) -> str:
    """A row a model and method."""
    head = ("model", "method", "ms/step", "device ms", "host ms", "examples/s", "of peak")
    rows = [(one["model"], one["method"], one["ms"], one["device_ms"], one.get("host_ms", ""),
             f"{one['examples_per_s']:,}", share(one.get("share_of_peak"))) for one in found]
    return "steps in the precision that is chosen on the device\n\n" + grid(rows, head)


def share(value: float | None) -> str:
    """A share as percent."""
    return "" if value is None else f"{100 * value:.1f}%"


def latency(found: list[dict[str, Any]]) -> str:
    """A row a model."""
    head = ("model", "p50 ms", "p95 ms", "128 tokens ms", "texts/s at 32", "protocol")
    rows = [(one["model"], *(number(one[key]) for key in ("p50_ms", "p95_ms", "p50_128_ms")),
             f"{one['throughput_per_s']:,.0f}", one["protocol"]) for one in found]
    return "random weights, texts of 128 tokens\n\n" + grid(rows, head)


def number(value: float | None) -> str:
    """Three figures."""
    return "" if value is None else f"{value:.3g}"


def sharing(found: dict[str, Any]) -> str:
    """One sentence."""
    return (f"TinyBERT's size, fine-tuning: one process {found['one']:,} examples/s, two at once "
            f"{' and '.join(format(rate, ',') for rate in found['two'])}: {found['gain']} times "
            "as many together")


def grid(rows: list[tuple], head: tuple) -> str:
    """A markdown table."""
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def compiled(found: list[dict[str, Any]]) -> str:
    """A row a model."""
    rows = [(one["model"], one["plain_ms"], one["compiled_ms"], one["compile_seconds"])
            for one in found]
    head = ("model", "plain ms/step", "compiled ms/step", "seconds to compile")
    return "fine-tuning, texts of 128 tokens\n\n" + grid(rows, head)


TABLES = {"machine": machine, "training": training, "latency": latency, "sharing": sharing,
          "waits": waits, "equality": equality, "smoke": smoke, "compiled": compiled}
