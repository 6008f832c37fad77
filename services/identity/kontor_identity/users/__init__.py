"""Users: the people who work with the platform."""
