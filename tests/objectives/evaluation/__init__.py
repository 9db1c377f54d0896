"""Tests of objectives/evaluation."""
