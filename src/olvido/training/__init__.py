"""One training run: planned beforehand, logged step by step, and resumable."""
