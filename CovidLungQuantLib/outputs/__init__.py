"""Quantifications as files: table, report, segmentation, scene."""
