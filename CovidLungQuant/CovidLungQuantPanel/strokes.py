"""Drawing in the slice views: where the mouse goes while its left button is down."""

import slicer

# Before what the views themselves do with the mouse, and before Segment Editor.
PRIORITY = 2.0
# Mouse moves that are shorter are no part of a stroke.
SHORTEST_PX = 2


class StrokeDrawing:
    """Follows one stroke in any slice view; the views then know nothing of it.

    `onPlace(place)` is called with each place of it in RAS, `onEnd()` once the button is let go.
    """

    def __init__(self, onPlace, onEnd):
        self._onPlace = onPlace
        self._onEnd = onEnd
        # (interactor, tag) of each observer.
        self._observers = []
        # Interactor and last position while the button is down.
        self._drawnIn = None
        self._position = None

    def start(self):
        """Wait for the next stroke; where there are no slice views none comes."""
        self.stop()
        layoutManager = slicer.app.layoutManager()
        for name in () if layoutManager is None else layoutManager.sliceViewNames():
            widget = layoutManager.sliceWidget(name)
            interactor, node = widget.sliceView().interactor(), widget.mrmlSliceNode()
            for event, follow in (
                ("LeftButtonPressEvent", self._press),
                ("MouseMoveEvent", self._move),
                ("LeftButtonReleaseEvent", self._release),
            ):
                self._observe(interactor, node, event, follow)

    def stop(self):
        """Let the mouse be the views' again."""
        for interactor, tag in self._observers:
            interactor.RemoveObserver(tag)
        self._observers = []
        self._drawnIn = None

    def _observe(self, interactor, node, event, follow):
        tags = []

        def called(caller, _event):
            if follow(interactor, node):
                # Nobody else gets it. Stopping has taken the observer away.
                command = interactor.GetCommand(tags[0])
                if command is not None:
                    command.SetAbortFlag(1)

        tags.append(interactor.AddObserver(event, called, PRIORITY))
        self._observers.append((interactor, tags[0]))

    def _press(self, interactor, node):
        if interactor.GetShiftKey() or interactor.GetControlKey():
            # These move the crosshair or the slice.
            return False
        self._drawnIn = interactor
        self._draw(interactor, node)
        return True

    def _move(self, interactor, node):
        if self._drawnIn is not interactor:
            return False
        position = interactor.GetEventPosition()
        moved = max(abs(now - then) for now, then in zip(position, self._position, strict=True))
        if moved >= SHORTEST_PX:
            self._draw(interactor, node)
        return True

    def _release(self, interactor, node):
        if self._drawnIn is not interactor:
            return False
        self._drawnIn = None
        self._onEnd()
        return True

    def _draw(self, interactor, node):
        self._position = interactor.GetEventPosition()
        x, y = self._position
        self._onPlace(node.GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])
