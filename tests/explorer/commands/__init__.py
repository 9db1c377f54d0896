"""Tests of explorer/commands."""
