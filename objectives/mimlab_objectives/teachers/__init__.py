"""Networks that give targets or signals and are not trained by the loss."""
