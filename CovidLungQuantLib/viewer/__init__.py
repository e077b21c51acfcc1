"""A result in the browser, to be looked at and corrected without Slicer.

`session` holds the labels and everything that is done to them, in plain arrays; `page` shows it
with trame-slicer, which only `page` and `views` need.
"""
