"""The command line: the parser and its verbs.

Imports everything.
"""
