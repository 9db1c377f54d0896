"""An operating point as files that run: export, checks before they are handed out, and live diarization with them.

What streams a bundle needs no torch."""
