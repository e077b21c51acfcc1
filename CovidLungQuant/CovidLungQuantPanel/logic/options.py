"""What can be chosen for a run, and the library's `Options` of what was chosen.

The one place that knows how the parameter node and the arguments of scripts become options.
"""

import sys
from dataclasses import replace

from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.models.registry import available_models
from CovidLungQuantLib.quantification import Options
from CovidLungQuantPanel.preferences import deviceOfThisComputer


def optionsOf(parameterNode):
    """Return the options that are chosen in the panel."""
    return Options(
        device=deviceOfThisComputer(parameterNode.device),
        model=parameterNode.model or None,
        kinds=parameterNode.kinds,
        airways_and_vessels=parameterNode.airwaysAndVessels,
        enhance=parameterNode.enhance,
        mirror=parameterNode.mirror,
        keep_probability=True,
    )


def optionsWith(options, individual):
    """Return `options`, or the default for None, with some fields replaced.

    :param individual: field → value; None leaves the field as it is.
    :raises CovidLungQuantError: `options` are none of the library's.
    """
    if options is None:
        options = Options(keep_probability=True)
    elif not isinstance(options, Options):
        raise CovidLungQuantError(
            _("Give `options` as CovidLungQuantLib.Options, or single ones by their name.")
        )
    given = {field: value for field, value in individual.items() if value is not None}
    return replace(options, **given)


def modelChoices():
    """Models to offer: value → text."""
    names = available_models()
    default = _("Default ({name})").format(name=names[0]) if names else _("Default")
    return {"": default, **{name: name for name in names[1:]}}


def deviceChoices():
    """Devices to offer: value → text. Graphics cards are known once PyTorch is loaded."""
    choices = {"auto": _("Automatic"), "cpu": _("CPU")}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        choices["cuda"] = _("NVIDIA graphics card (CUDA)")
    if torch is not None and torch.backends.mps.is_available():
        choices["mps"] = _("Apple graphics card (MPS)")
    return choices


def kindChoices():
    """Ways to tell GGO from high opacity: value → text."""
    return {
        "density": _("By density (above −350 HU)"),
        "thresholds": _("By thresholds (−750 and −350 HU)"),
        "artery": _("Relative to the pulmonary artery"),
        "network": _("By the network's own classes"),
    }
