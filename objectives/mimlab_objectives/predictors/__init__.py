"""What turns encoded patches into predictions."""
