"""Arrays and pictures as records: read once, checked, and stored in their row."""
