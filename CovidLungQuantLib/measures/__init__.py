"""Label maps to numbers."""
