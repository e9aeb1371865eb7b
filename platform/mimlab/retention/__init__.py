"""What of a trial's files may go, in which order, and what still needs the rest."""
