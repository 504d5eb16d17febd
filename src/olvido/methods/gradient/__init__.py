"""The gradient family: what all its methods share, and one small file for each."""
