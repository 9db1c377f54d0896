"""Tests of explorer/figures."""
