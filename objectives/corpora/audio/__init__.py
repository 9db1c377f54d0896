"""Read audio files: their content, their time line, channels, resampling.

`reading.py` returns samples. Nothing here depends on references or corpora."""
