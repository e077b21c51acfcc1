"""A chest CT for Slicer's module Sample Data: drawn on this computer, so it works offline."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.mrml.volumes import ct_to_node
from CovidLungQuantLib.phantom import chest_phantom

THUMBNAIL = Path(__file__).resolve().parent.parent / "Resources" / "Icons" / "CovidLungQuant.png"


def registerSampleData():
    """Offer the synthetic chest; a Slicer built without Sample Data goes without."""
    try:
        import SampleData
    except ImportError:
        return
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("COVID-19 Lung Quantification"),
        sampleName="SyntheticChestCT",
        # Nothing is downloaded: the function below draws it.
        uris=[],
        fileNames=[],
        customDownloader=addSyntheticChest,
        thumbnailFileName=str(THUMBNAIL),
    )


def addSyntheticChest(source=None):
    """Draw the synthetic chest CT, add it to the scene, show it and return its node."""
    with slicer.util.WaitCursor():
        volumeNode = ct_to_node(slicer.mrmlScene, chest_phantom().ct)
    volumeNode.SetName(slicer.mrmlScene.GenerateUniqueName(_("Synthetic chest CT")))
    slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    return volumeNode
