"""Many scans overnight: found, measured one a worker, set out in tables and a page."""
