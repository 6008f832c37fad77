"""Service level policies: what is promised for tickets, and the clocks that count it."""
