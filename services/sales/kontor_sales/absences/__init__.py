"""Times in which somebody is not there."""
