"""Points for leads."""
