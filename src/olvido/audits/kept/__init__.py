"""What was to be kept."""
