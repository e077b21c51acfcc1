"""The panel's sections, each in a file of its own, and the logic that scripts call.

`section.Section` says how a section lives. State lies in the scene, or in the application's
settings (`preferences`), never in the widgets.
"""
