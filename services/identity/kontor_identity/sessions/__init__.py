"""Sessions: for whom a token speaks."""
