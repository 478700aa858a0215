"""What every other wing stands on: errors, hashes, folders, progress, registries, options, the
machine's lock, figures as text, and the versions of the code. No torch, no task, no model.

Imports nothing of the project.
"""
