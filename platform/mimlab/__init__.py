"""mimlab: the laboratory for masked image modeling on Ray."""

__version__ = "0.1.0"
