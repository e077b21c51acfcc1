"""The page: its state, what its buttons do, and the server that gives it to one's own browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from trame.app import get_server
from trame_client.ui.html import DivLayout

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.files.names import REPORT_FILE
from CovidLungQuantLib.measures.review import REJECTED
from CovidLungQuantLib.progress import ProgressCallback
from CovidLungQuantLib.viewer.access import HOST, guard
from CovidLungQuantLib.viewer.opening import Opener, measure_opened
from CovidLungQuantLib.viewer.page_state import (
    BRUSH_VALUES,
    LOOK,
    SLICE_VIEWS,
    WINDOWS,
    first_state,
)
from CovidLungQuantLib.viewer.painting import Stroke
from CovidLungQuantLib.viewer.saving import corrected_folder, save_corrected
from CovidLungQuantLib.viewer.session import Session
from CovidLungQuantLib.viewer.showing import (
    correction_text,
    lesion_rows,
    sensitivity_text,
    table_of,
)
from CovidLungQuantLib.viewer.views import Views

WEB = Path(__file__).with_name("web")
WEB_ADDRESS = "covidlungquant"
LESION_KEYS = {"a": "accept", "x": "reject", "k": "change_kind", "l": "lock"}
# 3D and the list of lesions follow when the reader pauses.
PAUSE_S = 0.6
AXIAL = "Red"


class Page:
    """One result in one browser."""

    def __init__(self, opener: Opener, scan: str, token: str, port: int = 0) -> None:
        """Make the page; `run` serves it.

        Args:
            opener: reads what is to be shown; called in a thread, with a progress callback.
            scan: what to call it meanwhile.
            token: what a browser must bring.
            port: to listen on; 0 takes a free one.
        """
        self.session: Session | None = None
        self.error: Exception | None = None
        self._opener, self._token, self._port = opener, token, port
        self._saved_to: Path | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._stopping = False
        self._server = get_server("covidlungquant-viewer", client_type="vue3")
        self._state = self._server.state
        self._state.update(first_state(scan))
        self._server.enable_module(
            {
                "serve": {WEB_ADDRESS: str(WEB)},
                "scripts": [f"{WEB_ADDRESS}/page.js"],
                "styles": [f"{WEB_ADDRESS}/page.css"],
            }
        )
        self._views = Views(self._server)
        for view in self._views.views.values():
            view.modified.connect(self._view_moved)
        for name in TRIGGERS:
            self._server.controller.trigger(name)(partial(self._do, getattr(self, name)))
        with DivLayout(self._server) as layout:
            layout.root.add_child((WEB / "page.html").read_text(encoding="utf-8"))

    @property
    def has_unsaved_changes(self) -> bool:
        """Whether anything was changed since it was opened or saved."""
        return self.session is not None and not self.session.is_saved

    def run(self, announce: Callable[[int], None], ready: Callable[[], None]) -> None:
        """Serve the page until it is interrupted.

        Args:
            announce: called with the port once a browser may come.
            ready: called once the scan and its numbers are shown.

        Raises:
            CovidLungQuantError: what was to be shown cannot be opened.
        """
        os.environ["WSLINK_READY_MSG"] = ""
        self._tell_ready = ready
        controller = self._server.controller
        controller.on_server_bind.add(self._bind)

        def serving(**_state: Any) -> None:
            announce(self._server.port)
            self._opening = asyncio.get_event_loop().create_task(self._open())

        controller.on_server_ready.add(serving)
        try:
            self._server.start(
                host=HOST,
                port=self._port,
                open_browser=False,
                show_connection_info=False,
                disable_logging=True,
                timeout=0,
            )
        finally:
            self._stopping = True
            self._views.close()
        if self.error is not None:
            raise self.error

    # What buttons and keys do; each name is that of a trigger.

    def choose_window(self, name: str) -> None:
        level_hu, width_hu, _text = WINDOWS[name]
        self._views.set_window(level_hu, width_hu)
        self._state.window_name = name

    def set_opacity(self, percent: float) -> None:
        self._state.opacity = percent
        self._views.set_overlay(percent / 100.0, self._state.outline)

    def set_outline(self, outline: bool) -> None:
        self._state.outline = bool(outline)
        self._views.set_overlay(self._state.opacity / 100.0, self._state.outline)

    def fit(self) -> None:
        self._views.fit()

    def go_to_slice(self, number: int) -> None:
        view = self._views.views[AXIAL]
        view.set_slice_value(view.get_slice_range()[0] + (number - 1) * view.get_slice_step())

    def choose_tool(self, name: str) -> None:
        self._state.tool = name
        self._use_tool()

    def set_brush(self, diameter_mm: float) -> None:
        self._state.brush_mm = diameter_mm
        self._use_tool()

    def set_ball(self, ball: bool) -> None:
        self._state.ball = bool(ball)
        self._use_tool()

    def set_may_leave_lungs(self, may: bool) -> None:
        self._state.may_leave_lungs = bool(may)

    def undo(self) -> None:
        if self._ready().undo():
            self._labels_changed()

    def redo(self) -> None:
        if self._ready().redo():
            self._labels_changed()

    def go_to_lesion(self, number: int) -> None:
        lesion = self._ready().review.lesion(number)
        self._state.lesion_number = number
        self._views.look_at(lesion.island.place, lesion.island.box)
        self._show_sensitivity()

    def order_lesions(self, doubtful_first: bool) -> None:
        self._state.doubtful_first = bool(doubtful_first)
        self._refresh()

    def set_reason(self, reason: str) -> None:
        self._state.reason = reason

    def accept(self) -> None:
        self._ready().accept(self._state.lesion_number)
        self._decided()

    def reject(self) -> None:
        self._ready().reject(self._state.lesion_number, self._state.reason)
        self._decided()

    def change_kind(self) -> None:
        self._ready().change_kind(self._state.lesion_number)
        self._labels_changed()

    def lock(self) -> None:
        self._ready().lock(self._state.lesion_number)
        self._decided()

    def set_sensitivity(self, margin_code: int) -> None:
        self._ready().set_sensitivity(int(margin_code))
        self._labels_changed()

    def set_lesion_sensitivity(self, margin_code: int) -> None:
        self._ready().set_sensitivity(int(margin_code), self._state.lesion_number)
        self._labels_changed()

    def set_reader(self, name: str) -> None:
        self._state.reader = name

    def key(self, key: str) -> None:
        if key in ("n", "p"):
            self._go_on(1 if key == "n" else -1)
        elif key == "o":
            self.set_opacity(0 if self._state.opacity else 100)
        elif key in LESION_KEYS and self._state.lesion_number:
            getattr(self, LESION_KEYS[key])()

    async def save(self) -> None:
        session = self._ready()
        reader = self._state.reader
        folder = corrected_folder(session.opened.folder, reader, self._saved_to)
        labels = session.labels.copy()
        self._state.ready = False
        try:
            saved = await self._in_thread(
                "Saving",
                lambda progress: save_corrected(
                    session, labels, reader, folder, folder == self._saved_to, progress
                ),
            )
            session.saved(saved)
            self._saved_to = folder
            self._say(f"Saved to {folder.parent.name}/{folder.name}", "good")
        finally:
            self._state.update({"ready": True, "busy": ""})
            self._refresh()

    # How the page follows.

    def _bind(self, web_server: Any) -> None:
        """Let in who has the token only, and give the report, too."""
        from aiohttp import web

        async def report(_request: Any) -> Any:
            folder = self._saved_to
            if folder is None and self.session is not None:
                folder = self.session.opened.folder
            if folder is None or not (folder / REPORT_FILE).is_file():
                raise web.HTTPNotFound(text="There is no report yet; save first.")
            return web.FileResponse(folder / REPORT_FILE, headers={"Cache-Control": "no-store"})

        web_server.app.middlewares.append(guard(self._token))
        web_server.app.router.add_get(f"/{REPORT_FILE}", report)

    async def _open(self) -> None:
        """Show the scan as soon as it is read, the numbers once they are measured."""
        try:
            opened = await self._in_thread("Opening", self._opener)
            with self._state:
                self._state.scan = opened.ct.name
                self._views.show(opened.ct, opened)
                self.choose_window(self._state.window_name)
                self.set_opacity(self._state.opacity)
            measured = await self._in_thread("Measuring", partial(measure_opened, opened))
            self.session = Session(opened, measured)
            with self._state:
                self._state.update({"ready": True, "busy": ""})
                self._refresh()
                self._follow(lungs=True)
            self._tell_ready()
        except Exception as error:
            # Whatever it is, `run` raises it once the browser was told.
            self.error = error
            with self._state:
                self._state.busy = ""
                self._say(str(error), "bad")
            # The browser is to show it before it is cut off.
            await asyncio.sleep(1.0)
            await self._server.stop()

    async def _in_thread(self, what: str, work: Callable[[ProgressCallback], Any]) -> Any:
        """Return what `work(progress)` returns; the page shows how far it is."""
        loop = asyncio.get_running_loop()

        def show(fraction: float, message: str) -> None:
            with self._state:
                self._state.update({"busy": message, "progress_percent": round(100 * fraction)})

        def progress(fraction: float, message: str) -> None:
            if self._stopping:
                raise Cancelled("The viewer was closed.")
            loop.call_soon_threadsafe(show, fraction, message)

        show(0.0, what)
        return await loop.run_in_executor(None, work, progress)

    def _ready(self) -> Session:
        if self.session is None or not self._state.ready:
            raise CovidLungQuantError("Wait until this is done.")
        return self.session

    def _do(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do what a button says; what cannot be done is said in one sentence."""
        try:
            result = action(*arguments)
        except CovidLungQuantError as error:
            self._say(str(error), "bad")
            return None
        return self._awaited(result) if asyncio.iscoroutine(result) else None

    async def _awaited(self, result: Any) -> None:
        try:
            await result
        except CovidLungQuantError as error:
            with self._state:
                self._say(str(error), "bad")

    def _use_tool(self) -> None:
        if self._state.tool == LOOK:
            self._views.stop_brush()
        else:
            self._views.start_brush(self._state.brush_mm, self._state.ball, self._stroke)

    def _stroke(self, stroke: Stroke) -> None:
        with self._state:
            self._do(self._paint, stroke)

    def _paint(self, stroke: Stroke) -> None:
        value = BRUSH_VALUES[self._state.tool]
        if self._ready().paint(stroke, value, self._state.may_leave_lungs):
            self._labels_changed()

    def _labels_changed(self) -> None:
        self._views.labels_changed()
        self._say("", "")
        self._refresh()
        if self._pause is not None:
            self._pause.cancel()
        self._pause = asyncio.get_event_loop().call_later(PAUSE_S, self._follow)

    def _refresh(self) -> None:
        """Show the numbers of the labels as they are now."""
        session = self._ready()
        self._state.update(
            {
                "table": table_of(session),
                "correction": correction_text(session),
                "warnings": list(dict.fromkeys(w.message for w in session.warnings)),
                "undoable": session.undoable or "",
                "redoable": session.redoable or "",
                "unsaved": not session.is_saved,
                "lesions": lesion_rows(session, self._state.doubtful_first),
                "lesions_fresh": session.lesions_are_fresh,
                "lesions_left": session.review.left,
            }
        )
        self._show_sensitivity()

    def _show_sensitivity(self) -> None:
        session, number = self._ready(), self._state.lesion_number
        code = session.margin_code()
        lesion_code = session.margin_code(number or -1)
        self._state.update(
            {
                "has_sensitivity": session.has_sensitivity,
                "margin_code": code,
                "margin_text": sensitivity_text(code),
                "lesion_margin_code": lesion_code,
                "lesion_margin_text": sensitivity_text(lesion_code),
            }
        )

    def _decided(self) -> None:
        """Show a decision, and go on to the next lesion that is left to look at."""
        self._labels_changed()
        rows = self._state.lesions
        numbers = [row["number"] for row in rows]
        at = numbers.index(self._state.lesion_number)
        left = [row["number"] for row in rows[at:] + rows[:at] if not row["decided"]]
        if left:
            self.go_to_lesion(left[0])

    def _go_on(self, step: int) -> None:
        """Go to the next lesion of the list, or the one before."""
        numbers = [row["number"] for row in self._state.lesions if row["decision"] != REJECTED]
        if not numbers:
            return
        number = self._state.lesion_number
        at = numbers.index(number) + step if number in numbers else 0
        self.go_to_lesion(numbers[at % len(numbers)])

    def _follow(self, lungs: bool = False) -> None:
        """Let 3D and the list of lesions follow the labels."""
        session = self.session
        if session is None:
            return
        with self._state:
            self._views.renew_surfaces(session.labels, lungs or session.lungs_changed)
            session.refresh_lesions()
            if self._state.ready:
                self._refresh()

    def _view_moved(self, _view: Any) -> None:
        texts = {}
        for name in SLICE_VIEWS:
            view = self._views.views[name]
            low, high = view.get_slice_range()
            count = 1 + round((high - low) / view.get_slice_step())
            number = 1 + round((view.get_slice_value() - low) / view.get_slice_step())
            texts[name] = f"{number} / {count}"
            if name == AXIAL:
                self._state.update({"slice_number": number, "slice_count": count})
        with self._state:
            self._state.slice_texts = texts

    def _say(self, message: str, kind: str) -> None:
        self._state.update({"message": message, "message_kind": kind})


TRIGGERS = (
    "choose_window",
    "set_opacity",
    "set_outline",
    "fit",
    "go_to_slice",
    "choose_tool",
    "set_brush",
    "set_ball",
    "set_may_leave_lungs",
    "undo",
    "redo",
    "go_to_lesion",
    "order_lesions",
    "set_reason",
    "accept",
    "reject",
    "change_kind",
    "lock",
    "set_sensitivity",
    "set_lesion_sensitivity",
    "set_reader",
    "key",
    "save",
)
