"""The recipients of campaigns: who is to have a mail, why, and what became of it."""
