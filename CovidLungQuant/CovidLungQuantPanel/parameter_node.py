"""The parameter node: what the user chose.

Annotations are not postponed here (`from __future__ import annotations`): Slicer's parameter node
wrapper needs them as types.
"""

from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from CovidLungQuantLib.lesions.airways_and_vessels import NO_AIRWAYS_AND_VESSELS


@parameterNodeWrapper
class CovidLungQuantParameterNode:
    """What the user chose; kept in the scene and saved with it. A scene can hold several.

    `model` is a shipped model's name or a weights file's path, empty for the default model.
    `device` is "auto", "cpu", "cuda" or "mps". `kinds` says how GGO is told from high opacity:
    "density", "thresholds", "artery" or "network". `lobes` is a segmentation or label map of the
    user's that holds the five lobes; none finds them. `mayLeaveLungs` lets strokes add lung.
    `airwaysAndVessels` ("none", "find" or "remove"), `enhance` and `mirror` are as in
    `pipeline.Options`. `shownLesion` is the number of a lesion in the list, none 0;
    `layoutBefore` is the number of the layout before ours. `compareAnyway` lets a follow-up
    compare what different rules made.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    device: str = "auto"
    kinds: str = "density"
    lobes: vtkMRMLNode
    mayLeaveLungs: bool = False
    airwaysAndVessels: str = NO_AIRWAYS_AND_VESSELS
    enhance: bool = False
    mirror: bool = False
    shownLesion: int = 0
    layoutBefore: int = 0
    compareAnyway: bool = False
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode
