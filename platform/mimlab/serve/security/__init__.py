"""What keeps others out, and hostile input harmless."""
