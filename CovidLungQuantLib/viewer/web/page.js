// Keys of the viewer, and a question before unsaved corrections are left behind.
(function () {
  "use strict";

  // Those that `Page.key` knows; Slicer's views would take some of them for theirs.
  var KEYS = ["a", "k", "l", "n", "o", "p", "x"];

  function isOurs(event) {
    if (event.target.matches && event.target.matches("input[type=text], textarea")) return false;
    var key = event.key.toLowerCase();
    return event.ctrlKey || event.metaKey ? key === "z" || key === "y" : KEYS.includes(key);
  }

  function onKey(event) {
    if (!window.trame || event.altKey || !isOurs(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type !== "keydown") return;
    var key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      window.trame.trigger(key === "y" || event.shiftKey ? "redo" : "undo");
    } else if (!event.repeat || key === "n" || key === "p") {
      window.trame.trigger("key", [key]);
    }
  }

  ["keydown", "keypress", "keyup"].forEach(function (type) {
    window.addEventListener(type, onKey, true);
  });

  window.addEventListener("beforeunload", function (event) {
    if (window.trame && window.trame.state.get("unsaved")) event.preventDefault();
  });
})();
