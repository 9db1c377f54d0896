"""The online mode with thresholds: each voice is compared with those of the speakers heard before."""
