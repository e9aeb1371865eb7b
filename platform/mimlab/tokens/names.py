"""Names of the files of a saved encoder, of which every token store has a copy."""

ENCODER, WEIGHTS = "encoder.json", "encoder.safetensors"
PATCHES = "patches"
"""In the weights, beside the state_dict: the mean patch of each code, normalised pixels ordered
(row, column, channel); zero for a code that none of the patches that were looked at had."""
