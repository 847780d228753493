"""Texts: how varied they are, what they cover, what their characters hide."""
