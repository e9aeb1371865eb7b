"""The worker's side of a trial: loop, optimizer, checkpoints, exports, boards."""
