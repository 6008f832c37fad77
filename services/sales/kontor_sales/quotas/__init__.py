"""What people and teams are to sell."""
