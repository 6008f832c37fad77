"""Articles: what is known to help."""
