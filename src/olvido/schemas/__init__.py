"""Typed, versioned documents: everything that Olvido writes for other programs to read."""
