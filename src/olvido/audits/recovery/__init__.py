"""Whether what was forgotten comes back: after a little training, or after rounding."""
