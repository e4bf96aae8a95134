// The events of a node, newest first, or of a recording, with a picture of their beginning.

import { byId, clock, element, percent } from "/static/dom.js";

const MOST = 60;

export class Events {
  constructor() {
    this.list = byId("events");
    this.open = new Map(); // "stream label" -> the card of an event that is on
    this.clear();
  }

  clear() {
    this.open.clear();
    this.list.replaceChildren();
    byId("no-events").hidden = false;
    byId("events-note").textContent = "";
  }

  add(event, camera, color) {
    const key = `${event.stream} ${event.label}`;
    let card = this.open.get(key);
    if (!card) {
      const picture = event.picture
        ? element("img", { src: `data:image/jpeg;base64,${event.picture}`, alt: `Picture of the beginning of ${event.label}` })
        : element("div", { className: "blank" });
      card = element("li", {}, picture,
        element("h3", {}, element("span", { className: color === undefined ? "dot" : `dot k${color}` }), element("span", {}, event.label)),
        element("p"));
      this.list.prepend(card);
      while (this.list.children.length > MOST) this.list.lastElementChild.remove();
      byId("no-events").hidden = true;
    }
    const where = camera ? `${camera} · ` : "";
    const length = event.began ? "now" : `${event.duration.toFixed(1)} s`;
    card.lastElementChild.textContent = `${where}${clock(event.start)} · ${length} · ${percent(event.score)}`;
    card.classList.toggle("on", event.began);
    if (event.began) this.open.set(key, card);
    else this.open.delete(key);
    byId("events-note").textContent = this.open.size ? `${this.open.size} now` : "";
  }

  /** Show those of a recording, in their order; `jump` is called with the beginning of the one that is clicked. */
  showAll(events, omitted, color, jump) {
    while (this.list.children.length > events.length) this.list.lastElementChild.remove();
    events.forEach((event, index) => {
      const key = JSON.stringify([event, color(event.label)]), old = this.list.children[index];
      if (old?.dataset.key === key) return; // it may have the focus
      const name = `${event.label}, ${clock(event.start)}`;
      const number = color(event.label);
      const picture = element("img", { src: `/recording/picture?small&time=${event.start}`, alt: "", loading: "lazy" });
      const button = element("button", { type: "button", className: "jump" }, picture,
        element("span", { className: "name" }, element("span", { className: number === undefined ? "dot" : `dot k${number}` }), element("span", {}, event.label)),
        element("span", { className: "note" }, `${clock(event.start)} · ${event.end === null ? "until the end" : `${(event.end - event.start).toFixed(1)} s`} · ${percent(event.score)}`));
      button.setAttribute("aria-label", `Go to ${name}`);
      button.addEventListener("click", () => jump(event.start));
      const card = element("li", {}, button);
      card.dataset.key = key;
      if (old) old.replaceWith(card);
      else this.list.append(card);
    });
    byId("no-events").hidden = events.length > 0;
    byId("events-note").textContent = `${events.length}${omitted ? `, and ${omitted} shorter ones` : ""}`;
  }
}
