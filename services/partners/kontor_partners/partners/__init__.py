"""Partners: companies that sell with us or for us, from the first talk to the end."""
