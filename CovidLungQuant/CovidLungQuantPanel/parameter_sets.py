"""Several parameter sets in one scene: which one is chosen, saved with the scene.

A set is a `vtkMRMLScriptedModuleNode` of this module; the chosen one bears a mark.
"""

import slicer

CHOSEN_ATTRIBUTE = "CovidLungQuant.chosen"
# What makes a set more than a list of options.
NODE_ROLES = ("inputVolume", "lobes", "outputSegmentation", "outputTable")


def chosenNode(nodes):
    """Return the chosen one of the sets; the first where none was chosen; None without sets."""
    nodes = list(nodes)
    return next((node for node in nodes if _isChosen(node)), nodes[0] if nodes else None)


def choose(nodes, chosen):
    """Mark one of the sets as the chosen one, and no other."""
    changed = [node for node in nodes if _isChosen(node) != (node is chosen)]
    # At once: whoever hears of the first change must not find no set or two sets chosen.
    states = [node.StartModify() for node in changed]
    for node in changed:
        node.SetAttribute(CHOSEN_ATTRIBUTE, "1" if node is chosen else None)
    for node, state in zip(changed, states, strict=True):
        node.EndModify(state)


def chooseAfterImport(nodes):
    """A scene was added, maybe with a choice of its own: keep one choice.

    The choice of before stays, unless its set is still empty: that one makes room.
    """
    nodes = list(nodes)
    chosen = [node for node in nodes if _isChosen(node)]
    if len(chosen) < 2:
        return
    before, *others = chosen
    if _isEmpty(before):
        nodes.remove(before)
        slicer.mrmlScene.RemoveNode(before)
        before = others[0]
    choose(nodes, before)


def _isChosen(node):
    return node.GetAttribute(CHOSEN_ATTRIBUTE) == "1"


def _isEmpty(node):
    return all(node.GetNodeReference(role) is None for role in NODE_ROLES)
