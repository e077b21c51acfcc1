"""Many scans at once: agreement with readers."""
