"""The rights besides erasure: access to one's own data, and rectification."""
