"""Tests of explorer/terminal."""
