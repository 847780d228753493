"""The bundled sets: for each a module of functions with their STATE, and a YAML file with goals.

They run in the sandbox, so a module imports the standard library alone.
"""
