"""Deal registrations: deals that partners want to be protected in, and who is to have which."""
