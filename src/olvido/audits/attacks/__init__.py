"""Whether an attacker can tell who was a member."""
