"""Recordings, references and splits, from folders, pyannote.database and RTTM files.

Every recording is checked when it is created. Nothing here depends on models."""
