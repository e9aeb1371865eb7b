"""From a study file to trials: read, validate, expand, check, identify."""
