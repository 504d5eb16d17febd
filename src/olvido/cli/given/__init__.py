"""What commands are given and how they answer: options, files of records, places, output."""
