"""An operating point as files that run: export, checks before the files are released, live diarization with them.

Streaming with a bundle does not need torch."""
