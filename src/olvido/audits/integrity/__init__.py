"""Whether the model is what it claims to be."""
