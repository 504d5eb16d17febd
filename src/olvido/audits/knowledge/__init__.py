"""What is still said: recall, probes, extraction."""
