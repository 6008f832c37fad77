"""What persons are to organisations."""
