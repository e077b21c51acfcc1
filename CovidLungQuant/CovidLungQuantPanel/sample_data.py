"""A chest CT for Slicer's module Sample Data: it comes with the module, so it works offline."""

from pathlib import Path

from slicer.i18n import tr as _

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
THUMBNAIL = RESOURCES / "Icons" / "CovidLungQuant.png"
# A real chest with painted lesions; README.md beside it says whence it comes and how it was made.
SAMPLE_NAME = "SyntheticChestCT"
SAMPLE_FILE = RESOURCES / "SampleData" / "chest-with-painted-lesions.nrrd"
SAMPLE_SHA256 = "2d6760806468a102a2e75aca83f2b0d0c17d1bc96579bae08badefe6350068bb"


def registerSampleData():
    """Offer the sample chest; a Slicer built without Sample Data goes without."""
    try:
        import SampleData
    except ImportError:
        return
    # No downloader of its own: `SampleData.downloadSample` asks none, but fetches files.
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("COVID-19 Lung Quantification"),
        sampleName=SAMPLE_NAME,
        uris=SAMPLE_FILE.as_uri(),
        fileNames=SAMPLE_FILE.name,
        nodeNames=_("Chest CT with painted lesions"),
        checksums=f"SHA256:{SAMPLE_SHA256}",
        thumbnailFileName=str(THUMBNAIL),
    )
