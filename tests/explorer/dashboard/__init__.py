"""Tests of explorer/dashboard."""
