"""What a person may ask besides being forgotten: what is held about them, and that it be right."""
