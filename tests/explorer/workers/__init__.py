"""Tests of explorer/workers."""
