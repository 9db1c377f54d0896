"""Tests of objectives/compression."""
