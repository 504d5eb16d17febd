"""Down with the likelihood of what is to be forgotten."""
