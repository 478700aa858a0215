"""The three ways in which a request can end early."""


class BadInput(Exception):
    """Something the user gave is wrong: one line (what, where, what to do) and exit code 2."""


class Skip(Exception):
    """A cell that cannot apply (a tagger on a classification task, say); the reason goes into the table."""


class Broken(Exception):
    """A cell failed for a reason worth one line of its own; it is recorded and the others go on."""
