"""The streaming step: which window an update hears, which block it emits, and how its speakers are named.

`loop.py` is the step itself. Nothing here measures, compresses or reads files.
"""
