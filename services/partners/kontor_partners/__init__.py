"""Partners: companies that sell with us, leads offered to them, and deals they register."""
