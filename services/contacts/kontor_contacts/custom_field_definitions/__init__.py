"""The tenants' own fields."""
