"""A process of its own without the seconds that its libraries take to load.

Half of the work of these tests was the import of torch and transformers, once a process. `run` has
the signature of `subprocess.run` for a Python script: its process is forked from a server that has
imported the libraries alone, nothing of the project, and can be killed like any other.
"""

import atexit
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

LIBRARIES = ["torch", "numpy", "pandas", "accelerate", "safetensors.torch", "transformers.models.bert.modeling_bert",
             "transformers.models.roberta.modeling_roberta", "transformers.models.distilbert.modeling_distilbert", "tests.warm"]
HERE = str(Path(__file__).resolve().parent)

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(LIBRARIES)


def run(words, *, cwd=None, env=None, timeout=600, check=False):
    """`python WORDS...`: a script or `-c PROGRAM`, and its arguments; output is captured as text."""
    done = Started(words, cwd=cwd, env=env).wait(timeout)
    if check:
        done.check_returncode()
    return done


class Started:
    """A process that runs, with its `pid`."""

    def __init__(self, words, *, cwd=None, env=None):
        env = dict(os.environ if env is None else env)
        self.words, self.folder = words, tempfile.TemporaryDirectory(prefix="fresh-")
        self.said = [str(Path(self.folder.name, name)) for name in ("out", "err")]
        self.process = context.Process(target=child, args=([*map(str, words)], str(cwd or os.getcwd()), env, self.said))
        self.process.start()
        self.pid = self.process.pid

    def wait(self, timeout=600):
        """Its exit code and output, when it has ended."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        # a process that died before it opened them has written nothing
        out, err = (Path(name).read_text() if Path(name).exists() else "" for name in self.said)
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.words, self.process.exitcode, out, err)


def child(words, cwd, env, said):
    """The process: its folder, environment, streams and arguments, then the program."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test run under nohup ignores it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    for number, name in enumerate(said, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
    sys.path[:] = [path for path in sys.path if path and Path(path).resolve() != Path(HERE)]
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    code = 0
    try:
        execute(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def execute(words):
    """Run a program as the interpreter runs it."""
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    runpy.run_path(words[0], run_name="__main__")
