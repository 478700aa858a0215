"""The three ways in which a request can end early, and what a user sees of them: one line and an
exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

DONE, FAILED, BAD_INPUT = 0, 1, 2


class BadInput(Exception):
    """Something the user gave is wrong: one line (what, where, what to do) and exit code 2."""


class Skip(Exception):
    """A cell that cannot apply (a tagger on a classification task, say); the reason goes into the
    table.
    """


class Broken(Exception):
    """A cell failed for a reason worth one line of its own; it is recorded and the others go on."""


def guarded(do: Callable[[], int | None]) -> int:
    """The exit code of `do`; every foreseen error becomes one line."""
    try:
        return do() or DONE
    except (BadInput, Skip) as error:
        print(f"bench.py: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except Broken as error:
        print(f"bench.py: {one_line(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench.py: interrupted; the same command goes on from the last checkpoint",
              file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe went away; nothing is lost
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return DONE
    except OSError as error:
        if error.errno is None:
            raise
        print(
            f"bench.py: {error.filename or 'writing'}: {error.strerror}; make room or give another "
            f"folder",
            file=sys.stderr)
        return FAILED


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
