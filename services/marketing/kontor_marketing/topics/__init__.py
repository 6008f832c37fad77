"""Topics: what one can subscribe to."""
