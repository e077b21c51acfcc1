"""Quantifications as MRML nodes, and back. The scene is always passed in."""
