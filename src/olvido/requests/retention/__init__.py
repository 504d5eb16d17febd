"""How long records are kept: rules, what is due by them, and the requests that they make."""
