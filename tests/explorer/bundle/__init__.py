"""Tests of explorer/bundle."""
