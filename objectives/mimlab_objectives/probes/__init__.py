"""The arithmetic of probes: evaluation of frozen features under named, versioned protocols."""
