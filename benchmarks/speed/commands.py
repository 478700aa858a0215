"""Whole commands: a small training beside busy loops, and a grid of methods and seeds.

    busy  `bench.py` on a tiny student beside three busy loops a core, whose threads wait passively
          (ours, the default) or by spinning (reference); what both take quiet stands in the row
    grid  six methods, five seeds, GAD at 1,000 rows: one suite with a shared shelf (ours) against
          one command a method and seed, each in a results folder of its own (reference: seed 0
          alone is run, and counts five times)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timing import Bench, Way

BENCH = Path(__file__).resolve().parents[2] / "bench.py"
NAMES = ("busy", "grid")
WHAT = {"busy": "a tiny student's whole command beside three busy loops a core; reference: threads that wait by spinning",
        "grid": "six methods, five seeds, GAD at 1,000 rows, a grid; reference: a command a method and seed that shares nothing"}
LOOPS = 3  # a core
SEEDS = 5
METHODS = ("finetune", "logit_kd", "doktra", "dsg_kd", "ve_kd", "adapt")


class Command(Way):
    """`bench.py` with a fresh results folder."""

    def __init__(self, bench: Bench, **environment: str):
        self.bench, self.environment = bench, environment
        self.quiet: list[float] = []

    def data(self) -> list[str]:
        """The arguments that name the corpora; none for embedded text."""
        return ["--data-dir", str(self.bench.data_dir)] if self.bench.data_dir else []

    def call(self, *words: str) -> float:
        """Seconds of one command."""
        env = {**os.environ, **self.environment}
        with tempfile.TemporaryDirectory(prefix="kdbench-speed-") as folder:
            begun = time.perf_counter()
            subprocess.run([sys.executable, BENCH, *words, *self.data(), "--device", "cpu", "--results-dir", folder], env=env,
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return time.perf_counter() - begun


class Busy(Command):
    """A tiny student, two epochs of the look-alike."""

    def data(self) -> list[str]:
        """None: a real corpus is too long to be waited for beside busy loops."""
        return []

    def words(self) -> list[str]:
        steps = ["--max-steps", "3"] if self.bench.quick else []
        return ["--method", "finetune", "--task", "chemprot", "--teacher", "tiny:bert", "--student", "tiny-student", "--epochs", "2",
                "--latency", "off", "--no-controls", *steps]

    def prepare(self) -> None:
        self.quiet.append(self.call(*self.words()))

    def round(self) -> None:
        with busy_loops(LOOPS * (os.cpu_count() or 1)):
            self.call(*self.words())

    def facts(self) -> dict[str, Any]:
        own = "reference" if self.environment else "ours"
        return {f"{own}_quiet_ms": round(1000 * sorted(self.quiet)[len(self.quiet) // 2])}


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """`count` processes that compute for as long as this lasts."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Grid(Command):
    """Seconds to the finished table."""

    def prepare(self) -> None:
        """Nothing: every round has a folder of its own."""

    def round(self) -> None:
        suite = Path(self.folder.name) / "grid.toml"
        suite.write_text(self.suite())
        self.call("run", str(suite))

    def __init__(self, bench: Bench, **environment: str):
        super().__init__(bench, **environment)
        self.folder = tempfile.TemporaryDirectory(prefix="kdbench-speed-")

    def suite(self) -> str:
        """The grid as a suite's file."""
        seeds, methods = (1, METHODS[:2]) if self.bench.quick else (SEEDS, METHODS)
        options = "".join(f"options.{name}.pretrain_epochs = 1\n" for name in methods if name in ("ve_kd", "adapt"))
        data = '' if self.bench.data_dir else 'data = "lookalike"\n'
        return (f'about = "speed"\n{data}seeds = {seeds}\n[defaults]\nteacher = "tiny:bert"\nstudent = "tiny-student"\n'
                f'latency = "off"\nmax_train_examples = {self.rows()}\n\n'
                f"[[cells]]\nmethod = {list(methods)}\ntask = \"gad\"\n{options}")

    def rows(self) -> int:
        """Training examples."""
        return self.bench.pick(1000, 48)


class Apart(Grid):
    """Seed 0 of every method, each by a command that shares nothing; it counts five times."""

    def round(self) -> None:
        for method in METHODS[:2] if self.bench.quick else METHODS:
            options = ["--set", "pretrain_epochs=1"] if method in ("ve_kd", "adapt") else []
            self.call("--method", method, "--task", "gad", "--teacher", "tiny:bert", "--student", "tiny-student", "--latency", "off",
                      "--no-controls", "--max-train-examples", str(self.rows()), *options)

    def seconds(self) -> float:
        return super().seconds() * self.bench.pick(SEEDS, 1)


def what(name: str) -> str:
    return WHAT[name]


def ways(name: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    if name == "busy":
        return {"ours": lambda: Busy(bench), "reference": lambda: Busy(bench, OMP_WAIT_POLICY="active")}
    return {"ours": lambda: Grid(bench), "reference": lambda: Apart(bench)}
