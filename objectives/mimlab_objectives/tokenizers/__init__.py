"""What turns patches into discrete codes."""
