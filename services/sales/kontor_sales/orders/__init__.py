"""Orders: what customers ordered, as requests to the system that handles them, and what it says became of them."""
