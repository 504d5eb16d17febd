"""Typed, versioned documents: all that Olvido writes for other programs to read."""
