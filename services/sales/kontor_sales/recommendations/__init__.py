"""What to offer to whom, and who is like whom."""
