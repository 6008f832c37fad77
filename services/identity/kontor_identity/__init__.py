"""The identity service: tenants, users, teams, roles, service accounts, and the tokens that speak for them."""
