"""Forms on the web that capture leads."""
