"""What people do by the link in a mail: they leave, and need no login for it."""
