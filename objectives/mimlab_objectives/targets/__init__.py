"""What is predicted at hidden patches."""
