"""What people add to forecasts who know better."""
