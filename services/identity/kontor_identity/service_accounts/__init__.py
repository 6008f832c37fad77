"""Service accounts: programs that call on their own behalf."""
