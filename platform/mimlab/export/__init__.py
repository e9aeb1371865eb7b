"""A trained encoder for the world outside: weights that plain timm loads, and a model card."""
