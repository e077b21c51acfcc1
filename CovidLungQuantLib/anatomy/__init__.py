"""Anatomy from CT: lungs and, inside them, finer structures."""
