"""The one door for label maps, lobes, segmentations and tables."""
