"""Lists that people come back to."""
