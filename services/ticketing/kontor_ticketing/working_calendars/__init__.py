"""Working calendars: which hours of which days are worked."""
