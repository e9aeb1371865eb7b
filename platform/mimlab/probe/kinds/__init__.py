"""One file for each kind of probe: its configuration, and how it calls its arithmetic."""
