"""Templates: what mails are made of, in revisions that stay."""
