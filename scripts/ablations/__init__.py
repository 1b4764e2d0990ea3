"""The library behind the workflow's scripts: typed, importable, and free of Snakemake."""

__version__ = "0.1.0"
