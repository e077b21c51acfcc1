"""How a lesion of the list is told: cells of its row, its tip, and the reasons to reject one."""

from slicer.i18n import tr as _

from CovidLungQuantLib.labels import HIGH_OPACITY
from CovidLungQuantLib.measures.review import ACCEPTED, LOCKED, OPEN, REJECTED
from CovidLungQuantPanel.widgets import formatNumber

DECIDED_TEXTS = {OPEN: "", ACCEPTED: "✓", REJECTED: "✗", LOCKED: "="}


def rowTexts(lesion):
    """Cells of a lesion in the columns of the .ui file."""
    island = lesion.island
    return (
        str(island.index),
        island.lobe.short_name if island.lobe is not None else "–",
        formatNumber(island.volume_ml, 1),
        formatNumber(island.mean_hu, 0).replace("-", "−"),
        _kindText(island.kind),
        formatNumber(100 * island.confidence, 0),
        DECIDED_TEXTS[lesion.state],
    )


def _kindText(kind):
    return _("High") if kind is HIGH_OPACITY else _("GGO")


def reasonText(reason):
    """A reason of `measures.review.REASONS` in the user's language."""
    return {
        "vessel": _("Vessel"),
        "motion": _("Motion"),
        "not lung": _("Not lung"),
        "atelectasis": _("Atelectasis"),
        "other": _("Other reason"),
    }[reason]


def measuringOnce():
    """What is said while the first change of a result takes long."""
    return _("Measuring the whole scan once; the next changes are quick.")


def tip(lesion):
    """What else there is to say of a lesion."""
    island = lesion.island
    parts = [
        _("GGO {ggo:.1f} mL, high opacity {high:.1f} mL").format(
            ggo=island.ggo_ml, high=island.high_opacity_ml
        )
    ]
    if lesion.state == ACCEPTED:
        parts.append(_("accepted"))
    elif lesion.state == LOCKED:
        parts.append(_("locked"))
    elif lesion.state == REJECTED:
        parts.append(_("rejected: {reason}").format(reason=reasonText(lesion.reason)))
    if lesion.kind_changed:
        parts.append(_("kind changed"))
    return "; ".join(parts)
