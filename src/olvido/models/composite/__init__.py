"""Models made of several: members that answer together, and modules behind a router."""
