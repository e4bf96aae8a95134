// The diagnostics of a node: what is wrong and what to do about it, then the numbers.

import { byId, element } from "/static/dom.js";

const WORDS = ["", "Warning: ", "Error: ", "Stale: "];

export function showHealth(statuses) {
  if (!statuses.length) {
    byId("health").replaceChildren(element("p", { className: "empty" }, "No diagnostics yet."));
    return;
  }
  byId("health").replaceChildren(...statuses.map(({ name, level, message, values }) => {
    const summary = element("p", { className: "level" }, `${WORDS[level] ?? ""}${message}`);
    summary.dataset.level = level;
    const facts = values.filter(([, value]) => value !== "").map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value)));
    return element("div", { className: "status" },
      ...(statuses.length > 1 ? [element("p", { className: "note" }, name)] : []),
      summary, element("dl", { className: "facts" }, ...facts));
  }));
}
