"""Audio files as they are heard: what a file holds, where its sound lies in time, channels, resampling.

`reading.py` gives samples. Nothing here knows of references or corpora."""
