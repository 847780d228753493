"""Generators: a package for each pipeline, with its prompts, taxonomies and examples."""
