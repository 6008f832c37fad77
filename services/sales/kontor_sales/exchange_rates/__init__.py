"""What currencies are worth."""
