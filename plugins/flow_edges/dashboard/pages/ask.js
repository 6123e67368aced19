// A question before something is done that cannot be undone.

import { h } from "./dom.js";

// Whether the person agrees; Escape and Cancel say no. The focus goes back to where it was.
export function confirmed(title, text, verb) {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "asked" },
    h("h2", { id: "asked" }, title),
    h("p", {}, text),
    h(
      "form",
      { method: "dialog", class: "buttons" },
      h("button", { value: "no" }, "Cancel"),
      h("button", { value: "yes", class: "main danger" }, verb),
    ),
  );
  document.body.append(dialog);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "yes");
    });
  });
}
