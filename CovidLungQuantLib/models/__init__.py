"""Model files and the registry of models: what every network is loaded through."""
