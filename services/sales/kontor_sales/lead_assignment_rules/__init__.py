"""Who gets which leads."""
