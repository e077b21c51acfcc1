"""Sections of the panel, each in a file of its own.

A section is a class made with the panel (`CovidLungQuantWidget`), whose `addSection(name)` loads
`Resources/UI/CovidLungQuant<Name>.ui` and puts it above the disclaimer. It offers

- `update(parameterNode)`: show what the nodes are now; called after every change of the parameter
  node and of the scene's nodes. With None: let go of all nodes;
- `setRunning(running)`: a run has begun or ended;
- `cleanup()`: the panel goes away, at the end of Slicer or before a reload.

State lives in the scene, never in the widgets.
"""
