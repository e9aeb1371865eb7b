"""When and where frozen features are evaluated."""
