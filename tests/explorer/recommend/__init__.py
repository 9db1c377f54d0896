"""Tests of explorer/recommend."""
