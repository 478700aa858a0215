"""The project's training steps against the published code's way of doing them.

    python benchmarks/speed/run.py [--only NAME]... [--data-dir DIR] [--json FILE]

Every comparison runs in a process of its own, its ways in turn; memory is that of one more process a way, which are not timed
and run side by side, one thread each. README.md says what is compared and how to read the figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a bare clone's kdbench
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here comes from the hub

import timing  # noqa: E402
from tabulate import tabulate  # noqa: E402

MODULES = {
    "dsg_kd_8": "dsg_kd", "dsg_kd_32": "dsg_kd", "ve_kd": "ve_kd", "bilstm_minilm": "bilstm", "bilstm_bert_base": "bilstm",
    "doktra": "doktra", "augmentation": "augmentation", "finetune_vs_trainer_grouped": "trainer",
    "finetune_vs_trainer_default": "trainer", "distill_vs_trainer_grouped": "trainer", "distill_vs_trainer_default": "trainer",
    "overhead": "overhead", "busy": "commands", "grid": "commands",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=MODULES, metavar="NAME", help="this comparison alone; can be repeated")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("KDBENCH_DATA"),
                        help="folder of the real corpora (default: KDBENCH_DATA, else embedded text of the same lengths)")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the rows of such a file as a table, and run nothing")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: shows that it runs, its figures mean nothing")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.show:
        print(table(json.loads(given.show.read_text())))
        return 0
    bench = timing.Bench(Path(given.data_dir) if given.data_dir else None, given.quick, given.device)
    if given.worker:
        name, way = given.worker
        print(json.dumps(times(name, bench) if way == "all" else memory(name, way, bench)))
        return 0
    rows = []
    for name in given.only or MODULES:
        rows.append(row(name, bench))
        print(line(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def row(name: str, bench: timing.Bench) -> dict[str, Any]:
    """One comparison, each part of it in a fresh process."""
    found = worker(name, "all", bench)
    with ThreadPoolExecutor() as pool:
        held = {way: pool.submit(worker, name, way, bench, OMP_NUM_THREADS="1") for way in ("ours", "reference")}
    megabytes = {f"{way}_mb": each.result()["mb"] for way, each in held.items()}
    keys = ("name", "ours_ms", "reference_ms", "ratio", "ratio_fp32", "ratio_min", "ratio_max", "ours_mb", "reference_mb", "what")
    found.update(megabytes)
    return {key: found.pop(key) for key in keys} | found


def worker(name: str, way: str, bench: timing.Bench, **environment: str) -> dict[str, Any]:
    """What a fresh process says of one part of a comparison."""
    command = [sys.executable, __file__, "--worker", name, way, "--device", bench.device]
    if bench.data_dir:
        command += ["--data-dir", str(bench.data_dir)]
    if bench.quick:
        command.append("--quick")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment)
    return json.loads(done.stdout.splitlines()[-1])


def times(name: str, bench: timing.Bench) -> dict[str, Any]:
    """The comparison's times, in this process."""
    module = importlib.import_module(MODULES[name])
    ways = {way: build() for way, build in module.ways(name, bench).items()}
    spent = timing.interleave(ways, bench.quick)
    row = fp32 = {"name": name, **timing.compare(spent["ours"], spent["reference"])}
    if "ours_fp32" in spent:
        fp32 = timing.compare(spent["ours_fp32"], spent.get("reference_fp32", spent["reference"]))
    rounds = {way: len(each) for way, each in spent.items()}
    row = row | {"ratio_fp32": fp32["ratio"], "what": module.what(name), "rounds": rounds}
    for way in ways.values():
        row |= way.facts()
    return row


def memory(name: str, way: str, bench: timing.Bench) -> dict[str, float]:
    """What this process has held at most after a step or round of one way."""
    chosen = importlib.import_module(MODULES[name]).ways(name, bench)[way]()
    chosen.prepare()
    chosen.round()
    return {"mb": timing.peak_mb()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a markdown table: milliseconds a step (augmentation: a sentence) and the most memory of a process."""
    head = ("comparison", "ours ms", "reference ms", "ratio", "min-max", "ratio fp32", "ours MB", "reference MB")
    body = [(row["name"], short(row["ours_ms"]), f"{row['reference_ms']:,.0f}", f"{short(row['ratio'])}x",
             f"{short(row['ratio_min'])}-{short(row['ratio_max'])}", f"{short(row['ratio_fp32'])}x", f"{row['ours_mb']:.0f}",
             f"{row['reference_mb']:.0f}") for row in rows]
    return tabulate(body, head, tablefmt="github", disable_numparse=True, colalign=("left", *("right",) * 7))


def short(figure: float) -> str:
    """Three digits, or all before the point where there are more."""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def line(row: dict[str, Any]) -> str:
    """The row as one line of text."""
    return (f"{row['name']:28} {row['ours_ms']:10.2f} ms  {row['reference_ms']:10.1f} ms  {row['ratio']:8.2f}x "
            f"({row['ratio_min']:.2f}-{row['ratio_max']:.2f}), fp32 {row['ratio_fp32']:.2f}x  "
            f"{row['ours_mb']:6.0f} MB  {row['reference_mb']:6.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
