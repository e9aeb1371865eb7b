"""Pretext tasks: how encoder, predictor and loss are put together. One small file each."""
