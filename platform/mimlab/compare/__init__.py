"""Comparing the trials of a submission, from their folders alone."""
