"""The lesion network: preprocessing, architecture, weights and inference."""
