"""Tests of explorer/storage."""
