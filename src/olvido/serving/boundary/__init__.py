"""Where the service meets strangers: who asks, how much, how long, and from where."""
