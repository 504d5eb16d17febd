"""Another answer in place of the one to be forgotten."""
