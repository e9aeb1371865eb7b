"""What is done to submissions and trials: sent, stopped, paused, resumed, forked, extended."""
