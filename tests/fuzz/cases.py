"""Cases of the fuzzer: made from a seed and a number, run, and judged."""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import fresh
from tests.fuzz import options
from tests.fuzz.damage import damage
from tests.fuzz.material import base_folder, kinds, printed

SECONDS, MEGABYTES = 30, 1500  # of processor time: a busy machine makes no hang
WAITING = 4 * SECONDS  # by the clock
FINDS = ("verify", "study")  # exit code 1 says that something does not hold
MODULES = ["kdbench.cli.verbs", "kdbench.runs.runner", "kdbench.runs.planning", "kdbench.runs.dry_run", "kdbench.serve.predict", "kdbench.runs.grid",
           "kdbench.runs.artefacts", "kdbench.report.tables", "kdbench.report.page", "kdbench.report.verify", "kdbench.data.layouts",
           "kdbench.data.check", "kdbench.models.convert"]
PROGRAM = """
import json, resource, sys
from pathlib import Path
status = Path("/proc/self/status").read_text
size = lambda name: int(status().partition(name + ":")[2].split()[0]) << 10
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
resource.setrlimit(resource.RLIMIT_AS, (size("VmSize") + (4 << 30),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
import kdbench.runs.dry_run as plans
from kdbench.cli.verbs import main
from kdbench.runs.cell import Cell
from kdbench.base.identity import digest
from kdbench.models.teachers import FileSource
from kdbench.train.answering import file_answers
usual = plans.dry_run
def taught(cell):
    if not isinstance(cell.teacher, FileSource):
        return None
    answers = file_answers(cell.teacher, cell.task, cell.data, cell.unlabelled, cell.own_unlabelled)
    return sorted((key, str(one.logits.tolist()), str(one.weight.tolist())) for key, one in answers.by_key.items())
def with_ids(suite, planned, *more):
    cells = [cell for cell in planned if isinstance(cell, Cell)]
    read = [[cell.id, digest([cell.data.labels, cell.data.train, cell.data.dev, cell.data.test, cell.unlabelled, taught(cell)])]
            for cell in cells]
    Path("ids.json").write_text(json.dumps(read))
    return usual(suite, planned, *more)
plans.dry_run = with_ids
try:
    code = main(sys.argv[1:])
finally:
    Path("peak").write_text(str(size("VmHWM") >> 20))
sys.exit(code)
"""


class Case:
    """A damaged input and a command.

    said    what was damaged, and how
    signal  is sent after `wait` seconds; 0: none
    """

    signal, wait = 0, 0.0

    def __init__(self, seed, number, base, folder):
        self.draw, self.base, self.folder, self.number = random.Random(f"{seed}/{number}"), base, folder, number
        names = list(kinds())
        self.kind = "options" if number % 8 == 7 else names[(number * 37 + seed) % len(names)]
        folder.mkdir(parents=True)
        if self.kind == "options":
            self.words, self.environ = options.words(self.draw, base, folder)
            self.said, self.decides, self.before = "", False, None
            return
        self.prepared = prepared = kinds()[self.kind](base, folder)
        self.words, self.decides, self.environ = prepared.words, prepared.decides, prepared.environ
        if prepared.signal:
            self.said, self.signal, self.wait = "", prepared.signal, self.draw.uniform(1, 7)
            return
        self.before = self.undisturbed()
        file = self.draw.choice(prepared.files)
        content, times = file.read_bytes(), file.stat().st_mtime_ns
        self.said = f"{file.relative_to(folder)}: {damage(file, self.draw)}"
        plain = file.is_file() and os.access(file, os.R_OK) and file.stat().st_size < 1 << 28
        self.same = plain and (file.read_bytes() == content or same_json(file.read_bytes(), content))
        if file.is_file():
            os.utime(file, ns=(times, times))  # what looks at times alone would miss it

    def undisturbed(self):
        """What the command says of the files as they are: the ids of its cells, or its answer; made once for each kind."""
        if not self.decides and self.prepared.answer is None:
            return None
        if self.kind not in KNOWN:
            whole = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="whole-"))
            plain = Case.__new__(Case)
            plain.folder, plain.prepared = whole, kinds()[self.kind](self.base, whole)
            plain.words, plain.environ = plain.prepared.words, plain.prepared.environ
            done = plain.run() if not self.decides else None
            KNOWN[self.kind] = plain.ids() if self.decides else plain.prepared.answer(whole, done.stdout) if done.returncode == 0 else None
            shutil.rmtree(whole)
        return KNOWN[self.kind]

    def ids(self):
        """The ids of the planned cells, each with a digest of the data as they were read; None where there is no plan."""
        done = self.run()
        path = self.folder / "ids.json"
        if done.returncode:
            return None
        found = json.loads(path.read_text())
        path.unlink()
        return found

    def run(self):
        """The command's exit code and output."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("KDBENCH")} | self.environ
        done, self.peak = limited(self.words, self.folder, environ=environ, after=(self.wait, self.signal) if self.signal else None)
        return done

    def failure(self):
        """What is wrong with the answer; empty for a good one."""
        try:
            self.done = done = self.run()
        except subprocess.TimeoutExpired:
            self.done = None
            return f"no end within {WAITING} seconds"
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return f"no end within {SECONDS} seconds of processor time"
        said = done.stdout + done.stderr
        if "Traceback" in said or "panicked" in said:
            return f"traceback: {error_of(said)}"
        if self.peak > MEGABYTES:
            return f"{self.peak} MB of memory"
        return self.wrong_code(done) or self.wrong_answer(done)

    def wrong_code(self, done):
        if self.signal and done.returncode in (-self.signal, 128 + self.signal):
            lines = [line for line in done.stderr.split("\n") if line.startswith("bench.py: ")]
            return "" if done.returncode < 0 or len(lines) == 1 else "the end is not one line"
        if done.returncode == 1 and (self.words[0] in FINDS or "bench.py: " in done.stderr or "failed: " in done.stderr):
            return ""
        if done.returncode == 2:
            lines = done.stderr.rstrip("\n").split("\n")
            ours = [line for line in lines if line.startswith("bench.py: ")]
            return "" if len(ours) == 1 and lines[-1] == ours[0] and len(ours[0]) < 3000 else "the error is not one line"
        return "" if done.returncode == 0 else f"exit code {done.returncode}"

    def wrong_answer(self, done):
        if done.returncode:
            return ""
        if "--json" in self.words:
            try:
                for line in done.stdout.splitlines():
                    json.loads(line, parse_constant=lambda name: 1 / 0)
            except (ValueError, ZeroDivisionError):
                return "the answer is no JSON"
        if self.decides and self.before is not None:
            return self.wrong_identity(json.loads((self.folder / "ids.json").read_text()))
        return self.silent(done) if self.kind != "options" and not self.signal else ""

    def silent(self, done):
        """What a damaged file did without a word; empty where it did nothing, or was told of."""
        if self.prepared.finds and not self.same:
            return "damaged, and not found"
        told = re.search("damaged|left out|computed anew|cannot be read|not a record|another file|no predictions are stored", done.stdout + done.stderr)
        if self.before is None or (told and self.prepared.answer is printed):
            return ""
        return "" if self.prepared.answer(self.folder, done.stdout) == self.before else "another answer, and nothing is said"

    def wrong_identity(self, after):
        before = dict(self.before)
        for id, read in after:
            if id in before and (before[id] != read or (self.kind.startswith("model") and not self.same)):
                return "changed, and the id is the same"
        return ""


KNOWN = {}  # by kind, what a command says of files that nobody has damaged


def same_json(one, other):
    """Do two files hold the same JSON?"""
    try:
        return json.loads(one) == json.loads(other)
    except (ValueError, RecursionError):
        return False


def preload():
    """Let the fork server load the project too. It starts with the first process."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process that forks has no other threads
    # with this module, which each process would else import as its parent's main one
    fresh.context.set_forkserver_preload([*fresh.LIBRARIES, *MODULES, __name__])


def limited(words, folder, seconds=WAITING, environ=None, after=None):
    """A command in a process with limits, in `folder`: what it did, and its peak of memory in MB.

    after  seconds and the signal that is sent then
    """
    (folder / "peak").unlink(missing_ok=True)
    started = fresh.Started(["-c", PROGRAM.replace("SECONDS", str(SECONDS)), *words], cwd=folder, env=environ)
    if after:
        started.process.join(after[0])
        if started.process.exitcode is None:
            os.kill(started.pid, after[1])
    done = started.wait(seconds)
    return done, int((folder / "peak").read_text()) if (folder / "peak").is_file() else 0


def error_of(said):
    """The last line of a traceback, and the last place of the project in it."""
    places = re.findall(r'File "[^"]*?((?:kdbench|methods|tasks)/[^"]*)", line (\d+)', said)
    last = re.findall(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)\b.*$|^.*panicked.*$", said, re.MULTILINE)
    where = ":".join(places[-1]) if places else "?"
    return f"{where} {(last or said.splitlines())[-1][:160]}"


def main(words):
    """Run cases; the exit code is 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    for name in ("minutes", "cases", "case"):
        parser.add_argument(f"--{name}", type=float if name == "minutes" else int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--base", help="keep what all cases share in this folder")
    args = parser.parse_args(words)
    preload()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        base = base_folder(args.base or Path(place) / "base")
        if args.case is not None:
            return show(Case(args.seed, args.case, base, Path(place) / "case"))
        failures, ran = run(args, base, Path(place))
    print(f"{ran} cases, {len(failures)} failures")
    for what, count in Counter(failures).most_common():
        print(f"  {count} x {what}")
    return 1 if failures else 0


def run(args, base, place):
    """The failures of many cases, and how many there were."""
    failures, number = [], args.first
    end = time.monotonic() + 60 * (args.minutes or 1e9)
    last = args.first + args.cases if args.cases else (1 << 62 if args.minutes else args.first + 60)
    while number < last and time.monotonic() < end:
        folder = place / str(number)
        case = Case(args.seed, number, base, folder)
        if what := case.failure():
            failures.append(what)
            print(f"FAILED {what}\n  {case.kind}; {case.said}\n  {' '.join(map(str, case.words))[:300]}\n"
                  f"  python -m tests.fuzz --seed {args.seed} --case {number}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        number += 1
    return failures, number - args.first


def show(case):
    """One case with its output."""
    what = case.failure()
    print(f"{case.kind}; {case.said}\n{' '.join(map(str, case.words))}\n{case.environ}")
    if case.done is not None:
        print(f"exit code {case.done.returncode}\n{case.done.stdout[-3000:]}\n--\n{case.done.stderr[-6000:]}")
    print(what or "no failure")
    return 1 if what else 0
