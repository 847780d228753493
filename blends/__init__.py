"""Blends: records from many sources in exact shares, deduplicated and split without leaks."""
