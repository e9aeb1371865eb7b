"""What is hidden: schedule (how many), selector (where), rounds (how many masks of one view)."""
