"""Learn from a teacher: the model as it was, bent, or one that knows nothing."""
