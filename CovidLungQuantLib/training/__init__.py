"""Training and evaluation of the lesion network."""
