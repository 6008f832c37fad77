"""What people do: tasks, calls, meetings, visits, letters."""
