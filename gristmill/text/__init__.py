"""Measures on text: diversity."""
