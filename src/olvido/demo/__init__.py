"""The Barcelona residents: the whole path of a request, on a model that really learned them."""
