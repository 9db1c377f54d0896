"""Tests of explorer/front."""
