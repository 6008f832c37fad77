"""What deals will bring, how that changed, and how likely it is."""
