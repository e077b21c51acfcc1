"""Quantification of COVID-19 pneumonia on chest CT.

Nothing here imports qt or slicer, and nothing is downloaded. For research; not a medical device.
"""

__version__ = "0.1.0"
