"""The bundled graph: its files, the facts that were written for it, and the script that builds it."""
