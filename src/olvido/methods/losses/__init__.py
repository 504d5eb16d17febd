"""Losses that lower the likelihood of the forget set."""
