"""The streaming step: which window an update hears, which block it emits, and who gets which name.

`loop.py` is the step itself. Nothing here measures, compresses or reads files."""
