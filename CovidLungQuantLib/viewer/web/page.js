// Keys of the viewer, and a question before unsaved corrections are left behind.
(function () {
  "use strict";

  function isTyping(event) {
    return event.target.matches("input[type=text], textarea");
  }

  window.addEventListener("keydown", function (event) {
    if (!window.trame || isTyping(event)) return;
    var key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && ["z", "y"].includes(key)) {
      event.preventDefault();
      window.trame.trigger(key === "y" || event.shiftKey ? "redo" : "undo");
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      window.trame.trigger("key", [key]);
    }
  });

  window.addEventListener("beforeunload", function (event) {
    if (window.trame && window.trame.state.get("unsaved")) event.preventDefault();
  });
})();
