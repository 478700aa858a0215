"""Small or dull inputs that ask for much memory or time: each ends early, in one line, with exit code 2."""

import io
import json
import os
import shutil
import socketserver
import subprocess
import threading
import zipfile

import numpy as np
import pytest

from kdbench.base.errors import BadInput
from kdbench.data import prepare, transfer
from tests import factory, fresh
from tests.fuzz import cases
from tests.serve_student import student
from tests.test_bad_input import record

MEGABYTES, SECONDS = 700, 60  # a process that has loaded its libraries has some 450


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """A fork server that has loaded the project too."""
    cases.preload()


def refused(folder, *words):
    """What a command says that must refuse early and cheaply."""
    done, peak = cases.limited(words, folder, SECONDS)
    assert done.returncode == 2, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("bench.py: ")]) == 1 and lines[-1].startswith("bench.py: ")
    assert "Traceback" not in done.stderr and len(lines[-1]) < 1000
    assert peak < MEGABYTES, f"{peak} MB"
    return lines[-1]
