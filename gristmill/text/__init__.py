"""Texts: how varied they are, what they cover, which language they are in, what their characters hide."""
