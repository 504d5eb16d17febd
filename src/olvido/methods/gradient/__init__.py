"""The gradient family: the shared base, and one small file for each method."""
