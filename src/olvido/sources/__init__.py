"""Public data sets as rows, one module for each: read from files, or from the Hugging Face hub."""
