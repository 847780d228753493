"""Measures on text: diversity, coverage, language."""
