"""Tasks and what they read: the facts of a task, its examples, readers of corpora and of people's
own files, downloads.

Imports base.
"""
