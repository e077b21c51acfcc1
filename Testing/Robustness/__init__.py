"""Damaged files by the thousand: each door reads them as before, or refuses them in one sentence.

    python -m Testing.Robustness.fuzz --count 2000

A door is a `door.Door`: a few small valid files, what reads one, and what a change may do.
Another door is added to the list in `doors.all_doors`.
"""
