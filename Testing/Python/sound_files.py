"""One small sound file of each kind that a command reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_model import small_model

from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.phantom import chest_phantom


def write_sound_files(folder: Path) -> Path:
    """Write ct, labels and lungs (.nrrd), two tables, small.pt and the training set cases/."""
    ct = chest_phantom((24, 36, 44), (9.2, 9.2, 12.5)).ct
    write_image(folder / "ct.nrrd", ct.hu, ct.geometry)
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[6:18, 8:28, 6:18], labels[6:18, 8:28, 26:38] = 1, 1
    labels[8:12, 18:24, 8:14] = 2
    write_image(folder / "labels.nrrd", labels, ct.geometry)
    lungs = (labels > 0).astype(np.uint8)
    lungs[..., :22] *= 2
    write_image(folder / "lungs.nrrd", lungs, ct.geometry)
    (folder / "table.csv").write_text("case,automatic,reader1\na,1,2\nb,4,3\nc,6,7\n")
    (folder / "patients.csv").write_text("patient_id,lesion_percent,outcome\np,1,0\nq,4,1\n")
    save_model(folder / "small.pt", small_model().network)
    for name in ("a", "b"):
        write_image(folder / "cases" / name / "ct.nrrd", ct.hu, ct.geometry)
        write_image(folder / "cases" / name / "labels.nrrd", labels, ct.geometry)
    return folder
