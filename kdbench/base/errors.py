"""The errors that end a request early. A user sees one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from kdbench.base.stopping import Stopped

DONE, FAILED, BAD_INPUT = 0, 1, 2
NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)  # of a path that no file can have
NO_ENTRY = (errno.EACCES, errno.EPERM, errno.ENOTDIR)
MOST = 1500  # characters of a message: what is wrong with a suite may take that many


class BadInput(Exception):
    """Something the user gave is wrong: one line (what, where, what to do) and exit code 2."""


class Skip(Exception):
    """A cell that cannot run, as a tagger on a classification task; the table has the reason."""


class Broken(Exception):
    """A cell failed for a known reason: one line; it is recorded and the other cells run."""


def guarded(command: Callable[[], int | None]) -> int:
    """Run `command` and return its exit code; every foreseen error becomes one line."""
    try:
        return command() or DONE
    except (BadInput, Skip) as error:
        print(f"bench.py: {shortened(one_line(error))}", file=sys.stderr)
        return BAD_INPUT
    except Broken as error:
        print(f"bench.py: {shortened(one_line(error))}", file=sys.stderr)
        return FAILED
    except MemoryError:
        print("bench.py: not enough memory; give less data, or a machine with more",
              file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench.py: interrupted; the same command goes on from the last checkpoint",
              file=sys.stderr)
        return 130
    except Stopped as stop:
        print(f"bench.py: {stop}; the same command goes on from the last checkpoint",
              file=sys.stderr)
        return stop.code
    except BrokenPipeError:
        # the reader of the pipe has closed it, as `head` does; that is no error
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return DONE
    except OSError as error:
        if error.errno is None:
            raise
        where = shortened(one_line(Exception(error.filename or "writing")))
        if error.errno in NO_NAME:
            print(f"bench.py: {where}: {error.strerror}; give another path", file=sys.stderr)
            return BAD_INPUT
        if error.errno in NO_ENTRY:
            print(f"bench.py: {where}: {error.strerror}; check the path and its permissions",
                  file=sys.stderr)
            return BAD_INPUT
        print(f"bench.py: {where}: {error.strerror}; make room or give another folder",
              file=sys.stderr)
        return FAILED


def shortened(line: str) -> str:
    """A message that quotes something very long, without its middle."""
    cut = len(line) - MOST
    return line if cut <= 0 else f"{line[:MOST - 300]} [{cut:,} characters] {line[-300:]}"


def one_line(error: BaseException) -> str:
    """The message of `error` without line breaks."""
    return " ".join(str(error).split())
