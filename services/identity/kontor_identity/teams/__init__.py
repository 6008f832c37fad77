"""Teams: groups of users that own records together."""
