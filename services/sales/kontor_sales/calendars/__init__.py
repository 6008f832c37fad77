"""Activities as calendars: feeds, invitations, free and busy times."""
