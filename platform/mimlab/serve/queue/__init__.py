"""Fairness between users: what is to run waits until its user's share has room."""
