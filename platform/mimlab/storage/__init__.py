"""Submission and trial folders: the truth. MLflow, progress views and Ray's tables are views."""
