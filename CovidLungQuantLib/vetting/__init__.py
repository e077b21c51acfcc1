"""The vetted door: nothing from outside is read before it has passed here.

A file must be a regular file of a size that makes sense; the header of an image is parsed here, its
voxels are unpacked here with their checksums, and both must agree to the byte. No native image
reader sees a file that has not passed.
"""

from __future__ import annotations

from CovidLungQuantLib.vetting.images import StoredImage, read_stored_image, vet_image
from CovidLungQuantLib.vetting.json_files import parse_json, read_json
from CovidLungQuantLib.vetting.problems import UnreadableFileError, damaged
from CovidLungQuantLib.vetting.regular_file import check_regular_file, read_bytes, read_text
from CovidLungQuantLib.vetting.stored_image import ImageHeader, Payload
from CovidLungQuantLib.vetting.table_files import parse_csv_rows, read_csv_dicts, read_csv_rows

__all__ = [
    "ImageHeader",
    "Payload",
    "StoredImage",
    "UnreadableFileError",
    "check_regular_file",
    "damaged",
    "parse_csv_rows",
    "parse_json",
    "read_bytes",
    "read_csv_dicts",
    "read_csv_rows",
    "read_json",
    "read_stored_image",
    "read_text",
    "vet_image",
]
