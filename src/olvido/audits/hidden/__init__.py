"""Whether what is no longer said can still be read inside the model."""
