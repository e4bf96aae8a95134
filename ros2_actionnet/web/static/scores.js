// The scores of the last two minutes as lines, with the levels of events, and the events as bars below.

import { element, percent } from "/static/dom.js";

const SPAN = 120; // s
const COLORS = 8;
const GAP = 3; // s without a result that break a line

export class Scores {
  constructor() {
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Scores of the last two minutes; the newest ones are in the list below");
    this.legend = element("ul", { className: "legend" });
    this.root = element("div", { className: "chart" }, this.canvas, this.legend);
    this.samples = [];
    this.events = [];
    this.colors = new Map(); // label -> 0 to 7
    this.levels = {};
    this.due = false;
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  get newest() { return this.samples.at(-1); }

  add(time, results) {
    if (this.samples.length && time < this.newest.time) { // time began anew
      this.samples = [];
      this.events = [];
    }
    this.samples.push({ time, results: new Map(results) });
    while (this.samples[0].time < time - SPAN) this.samples.shift();
    this.events = this.events.filter(event => (event.end ?? time) >= time - SPAN);
    for (const [label] of results) this.color(label);
    this.redraw();
  }

  addEvent({ label, began, start, time }) {
    const open = this.events.find(event => event.label === label && event.end === null);
    if (began && !open) this.events.push({ label, start, end: null });
    else if (!began && open) open.end = time;
    else if (!began) this.events.push({ label, start, end: time });
    this.color(label);
    this.redraw();
  }

  setLevels(levels) {
    this.levels = levels;
    this.redraw();
  }

  /** Return the color of a label; the first ones that are seen have one, until they have not been seen for long. */
  color(label) {
    if (!this.colors.has(label)) {
      if (this.colors.size >= COLORS) {
        const shown = new Set(this.samples.flatMap(sample => [...sample.results.keys()]));
        for (const old of this.colors.keys()) if (!shown.has(old)) this.colors.delete(old);
      }
      const used = new Set(this.colors.values());
      const free = [...Array(COLORS).keys()].find(number => !used.has(number));
      if (free !== undefined) this.colors.set(label, free);
    }
    return this.colors.get(label);
  }

  redraw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.draw();
      this.list();
    });
  }

  list() {
    const results = [...(this.newest?.results ?? [])].sort((a, b) => b[1] - a[1]);
    this.legend.replaceChildren(...results.slice(0, COLORS).map(([label, score]) => {
      const number = this.color(label);
      return element("li", {},
        element("span", { className: number === undefined ? "dot" : `dot k${number}` }),
        element("span", { className: "name", title: label }, label),
        element("span", { className: "value" }, percent(score)));
    }));
  }

  draw() {
    const scale = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const ink = name => style.getPropertyValue(name).trim();
    const bars = 6 * Math.min(COLORS, new Set(this.events.map(event => event.label)).size);
    const foot = 20 + bars, left = 8, right = width - 8, top = 10, bottom = height - foot;
    const now = Math.max(this.newest?.time ?? 0, ...this.events.map(event => event.end ?? event.start));
    const x = time => right - ((now - time) / SPAN) * (right - left);
    const y = score => bottom - score * (bottom - top);
    context.font = "11px system-ui, sans-serif";
    context.lineJoin = "round";

    context.textBaseline = "alphabetic";
    context.fillStyle = ink("--soft");
    for (let ago = 0; ago <= SPAN; ago += 30) {
      context.textAlign = ago === 0 ? "right" : ago === SPAN ? "left" : "center";
      context.fillText(ago === 0 ? "now" : `−${ago} s`, x(now - ago), height - 5);
    }
    context.strokeStyle = ink("--line");
    context.strokeRect(left, top, right - left, bottom - top);
    context.textAlign = "left";
    for (const [name, level] of Object.entries(this.levels)) {
      context.strokeStyle = ink("--soft");
      context.setLineDash(name === "event_on" ? [5, 4] : [2, 4]);
      context.beginPath();
      context.moveTo(left, y(level));
      context.lineTo(right, y(level));
      context.stroke();
      context.fillText(`${name} ${level}`, left + 4, y(level) - 3);
    }
    context.setLineDash([]);
    context.lineWidth = 2;
    for (const [label, number] of this.colors) {
      context.strokeStyle = ink(`--c${number}`);
      context.beginPath();
      let before = null;
      for (const sample of this.samples) {
        const score = sample.results.get(label);
        if (score === undefined) { before = null; continue; } // under the threshold, or not among the best
        if (before === null || sample.time - before > GAP) context.moveTo(x(sample.time) - 1, y(score));
        context.lineTo(x(sample.time), y(score));
        before = sample.time;
      }
      context.stroke();
    }
    const rows = new Map();
    for (const { label, start, end } of this.events) {
      if (!rows.has(label)) rows.set(label, rows.size);
      if (rows.get(label) >= COLORS) continue;
      const number = this.colors.get(label);
      context.fillStyle = ink(number === undefined ? "--other" : `--c${number}`);
      const begin = Math.max(left, x(start));
      context.fillRect(begin, bottom + 3 + 6 * rows.get(label), Math.max(3, x(end ?? now) - begin), 4);
    }
  }
}
