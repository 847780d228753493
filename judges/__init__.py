"""Judges: what shows that a record is right, by rules, by running it, or by asking models."""
