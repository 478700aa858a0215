"""The command line, to which a scheduler sends SIGUSR1 in the midst of a step.

SIGNALLED_IN names the step, from 0 on; without it nobody sends a signal.
"""

import os
import signal
import sys

from kdbench.cli.verbs import main
from kdbench.train.fit import Trainer

usual = Trainer.forward_and_backward


def forward_and_backward(self, *given):
    if os.environ.get("SIGNALLED_IN") == str(self.step):
        os.kill(os.getpid(), signal.SIGUSR1)
    return usual(self, *given)


if __name__ == "__main__":
    Trainer.forward_and_backward = forward_and_backward
    sys.exit(main())
