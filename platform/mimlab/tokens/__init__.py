"""Codes and features that are computed once: saved encoders, token stores and their reading."""
