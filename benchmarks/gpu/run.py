"""What a GPU gives: equality with the CPU, every method, speed, latency, two processes at once.

    python benchmarks/gpu/run.py --json figures.json      # under nine minutes on one GPU
    python benchmarks/gpu/run.py --only equality
    python benchmarks/gpu/run.py --show figures.json      # the tables of such a file
    python benchmarks/gpu/run.py --make-wheels wheels     # where there is a package index
    python benchmarks/gpu/run.py --wheels wheels          # where there is none

Every section runs in fresh processes and has a time limit. One that fails is named at the end, and
the others go on. README.md says what the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
WORKER = HERE / "worker.py"

# what a machine with PyTorch and transformers may lack; wheels without compiled code
CARRIED = ("seqeval", "tabulate", "filelock")

Figures = dict[str, Any]


class Failed(Exception):
    """A section that came to no figures; its text says why."""


def main() -> int:
    """Run the command line; returns the exit code."""
    given = parse()
    if given.make_wheels:
        return make_wheels(given.make_wheels)
    if given.show:
        import tables

        print(tables.markdown(json.loads(given.show.read_text())))
        return 0
    figures: Figures = {"date": time.strftime("%Y-%m-%d")}
    failed = []
    with tempfile.TemporaryDirectory(prefix="kdbench-gpu-") as scratch:
        if given.wheels:
            unpack(given.wheels, Path(scratch) / "site")
        for name in given.only or SECTIONS:
            begun = time.perf_counter()
            try:
                figures[name] = SECTIONS[name](given.device, given.quick, Path(scratch))
            except Failed as failure:
                failed.append(f"{name}: {failure}")
                figures[name] = {"failed": str(failure)}
            print(f"{name:12} {time.perf_counter() - begun:6.1f} s", flush=True)
            if given.json:
                given.json.write_text(json.dumps(figures, indent=1) + "\n")
    import tables

    print(tables.markdown(figures))
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return bool(failed)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}; can be repeated")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"),
                        help="cpu: shows that the sections run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; no figure means anything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print its tables, run nothing")
    parser.add_argument("--make-wheels", type=Path, metavar="DIR",
                        help="fetch the packages that a bare machine may lack, and end")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take what is missing from there")
    return parser.parse_args()


# ---- packages ------------------------------------------------------------------------------------


def make_wheels(folder: Path) -> int:
    """Put wheels of `CARRIED`, of the versions in constraints.txt, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir",
               str(folder), "--constraint", str(TOP / "constraints.txt"), *CARRIED]
    return subprocess.run(command).returncode


def unpack(wheels: Path, site: Path) -> None:
    """Install the wheels that this Python lacks into `site`, for every later process."""
    found = {path.name.partition("-")[0]: path for path in sorted(wheels.glob("*.whl"))}
    if not found:
        raise SystemExit(f"--wheels {wheels}: no wheel is there; make them with --make-wheels")
    missing = [str(path) for name, path in found.items() if not importable(name)]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                   "--target", str(site), *missing]
        subprocess.run(command, check=True)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), before]))
    sys.path.insert(0, str(site))


def importable(name: str) -> bool:
    """Whether this Python has the package."""
    from importlib.util import find_spec

    return find_spec(name) is not None


# ---- sections ------------------------------------------------------------------------------------


def process(words: list[str], seconds: float, **environment: str) -> subprocess.CompletedProcess:
    """A finished process of this Python; `Failed` where it fails or takes longer."""
    own = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    try:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=TOP,
                              timeout=seconds, env=os.environ | own | environment)
    except subprocess.TimeoutExpired:
        raise Failed(f"took longer than {seconds:.0f} s") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-12:]
        raise Failed(f"exit {done.returncode}: " + " | ".join(line.strip() for line in last))
    return done


def worker(section: str, device: str, quick: bool, seconds: float, *more: str) -> Any:
    """What a process of worker.py found."""
    words = [str(WORKER), section, "--device", device, *more]
    done = process(words + (["--quick"] if quick else []), seconds)
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: str, quick: bool, _: Path) -> Figures:
    """The hardware, its software, and what its matrix products reach."""
    return worker("machine", device, quick, 120)


def equality(device: str, quick: bool, _: Path) -> Figures:
    """Twenty steps of every training in fp32, without dropout, here and on the CPU."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        both = [pool.submit(worker, "losses", place, quick, 150) for place in ("cpu", device)]
    cpu, own = (each.result() for each in both)
    return {name: compare(cpu[name], own[name]) for name in cpu}


def compare(cpu: dict[str, list[float]], own: dict[str, list[float]]) -> Figures:
    """The largest relative difference of one method's losses, and how many were compared."""
    if "failed" in cpu or "failed" in own:
        return {"failed": str(own.get("failed") or cpu.get("failed"))}
    largest, steps = 0.0, 0
    for stage, losses in cpu.items():
        if len(losses) != len(own[stage]):
            return {"failed": f"{stage}: {len(own[stage])} steps, {len(losses)} on the CPU"}
        for ours, theirs in zip(own[stage], losses, strict=True):
            largest = max(largest, abs(ours - theirs) / max(abs(theirs), 1e-6))
            steps += 1
    return {"steps": steps, "largest_difference": largest, "equal": largest <= 1e-3}


def waits(device: str, quick: bool, _: Path) -> Figures:
    """Synchronising calls inside a training step, by method; zero is what is wanted."""
    return worker("waits", device, quick, 150)


def smoke(device: str, _: bool, scratch: Path) -> Figures:
    """Every method on embedded text through `bench.py`, then once more, which trains nothing."""
    command = ["bench.py", "run", "smoke", "--device", device, "--results-dir",
               str(scratch / "smoke")]
    begun = time.perf_counter()
    process([*command, "--workers", "2"], 240)
    between = time.perf_counter()
    process(command, 60)
    records = [json.loads(path.read_text()) for path in scratch.glob("smoke/records/*/*.json")]
    done = [record for record in records if record["status"] == "done"]
    if not done or len(done) != len(records):
        raise Failed(f"{len(done)} of {len(records)} records are done")
    return {"cells": len(done), "seconds": round(between - begun, 1),
            "again_seconds": round(time.perf_counter() - between, 1)}


def training(device: str, quick: bool, _: Path) -> list[Figures]:
    """Training steps by model and method."""
    return worker("training", device, quick, 240)


def compiled(device: str, quick: bool, _: Path) -> list[Figures]:
    """Fine-tuning with a compiled encoder."""
    return worker("compiled", device, quick, 150)


def latency(device: str, quick: bool, _: Path) -> list[Figures]:
    """Latency rows of the usual models."""
    return worker("latency", device, quick, 120)


def sharing(device: str, quick: bool, _: Path) -> Figures:
    """The same training in one process, and in two at once on one GPU."""
    from concurrent.futures import ThreadPoolExecutor

    alone = worker("share", device, quick, 90)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(worker, "share", device, quick, 120, "--hold") for _ in range(2)]
    rates = [each.result()["examples_per_s"] for each in both]
    return {"one": alone["examples_per_s"], "two": rates,
            "gain": round(sum(rates) / alone["examples_per_s"], 2)}


SECTIONS: dict[str, Callable[[str, bool, Path], Any]] = {
    "machine": machine, "training": training, "latency": latency, "sharing": sharing,
    "waits": waits, "equality": equality, "smoke": smoke, "compiled": compiled,
}

if __name__ == "__main__":
    sys.path.insert(0, str(TOP))  # a bare clone's kdbench
    sys.exit(main())
