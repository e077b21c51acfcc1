"""The one door for label maps, lobes, segmentations and tables.

- `images`: every image file goes through here; `read_label_file` reads every label map.
- `seg_nrrd`: the `.seg.nrrd` format, its header read and the file written.
- `segmentation_reading`, `segmentation_writing`: label maps of the lesions, and what else is found.
- `segments`: what segments in a file and in Slicer's scene share.
- `lobes`: lobes and lungs of other tools; `lobe_conventions`: how these name and number lobes.
- `grids`: whether two grids share their voxels, and labels of one on the other.
- `tables`: CSV and JSON. `names`: what the files are called.
"""
