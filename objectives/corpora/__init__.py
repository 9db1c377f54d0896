"""Recordings, references and splits, from folders, pyannote.database and RTTM files.

Every recording is checked where it is made. Nothing here knows of models."""
