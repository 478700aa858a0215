"""Tasks and what they read: the facts of a task, its examples, readers of corpora and of users' own
files, downloads, the report of `check`.

Imports base.
"""
