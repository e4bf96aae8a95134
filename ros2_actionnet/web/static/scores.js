// Scores as lines, with the levels of events, and the events as bars below: those of the last two minutes, or of a span
// of a recording.

import { clock, element, percent } from "/static/dom.js";

const SPAN = 120; // s
const COLORS = 8;
const REDRAW = 100; // ms between two drawings
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
    this.view = null; // { start, end, time } of a recording; null for the last two minutes
    this.due = false;
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
  }

  get newest() { return this.samples.at(-1); }

  /** Return the sample in effect: the newest, or that of the time shown. */
  get current() {
    return this.view ? this.samples.findLast(sample => sample.time <= this.view.time + 1e-6) : this.newest;
  }

  /** Show a part of a recording: the span and the time in `view`, samples, and events with an end each. */
  show(view, samples, events) {
    if (!this.view) this.canvas.setAttribute("aria-label", "Scores around the time shown; those of that time are in the list below");
    this.view = view;
    this.samples = samples;
    this.events = events;
    for (const { label } of events) if (this.colors.size < COLORS) this.color(label);
    for (const { results } of samples) for (const label of results.keys()) if (this.colors.size < COLORS) this.color(label);
    this.redraw();
  }

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

  /** Return the name of a label's color; those that came when none was left share one. */
  ink(label) {
    const number = this.colors.get(label);
    return number === undefined ? "--other" : `--c${number}`;
  }

  redraw() {
    if (this.due) return;
    this.due = true;
    setTimeout(() => requestAnimationFrame(() => {
      this.due = false;
      this.draw();
      this.list();
    }), REDRAW);
  }

  list() {
    const results = [...(this.current?.results ?? [])].sort((a, b) => b[1] - a[1]);
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
    const { rows, more } = this.rows();
    const bars = 6 * rows.size + (more ? 14 : 0);
    const foot = 20 + bars, left = 8, right = width - 8, top = 10, bottom = height - foot;
    const view = this.view;
    const now = view ? view.end : Math.max(this.newest?.time ?? 0, ...this.events.map(event => event.end ?? event.start));
    const span = view ? Math.max(view.end - view.start, 1e-3) : SPAN;
    const x = time => right - ((now - time) / span) * (right - left);
    const y = score => bottom - score * (bottom - top);
    context.font = "11px system-ui, sans-serif";
    context.lineJoin = "round";

    context.textBaseline = "alphabetic";
    context.fillStyle = ink("--soft");
    for (let step = 0; step <= 4; step += 1) {
      const ago = (span * step) / 4;
      context.textAlign = step === 0 ? "right" : step === 4 ? "left" : "center";
      context.fillText(view ? clock(now - ago) : step === 0 ? "now" : `−${ago} s`, x(now - ago), height - 5);
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
    }
    context.setLineDash([]);
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip(); // a recording has results on both sides of the span
    context.lineWidth = 2;
    // A class that is under the threshold, or not among the best, has a gap in its line.
    const lines = new Map(); // color -> path
    for (const [index, { time, results }] of this.samples.entries()) {
      const before = this.samples[index - 1];
      const isNear = before && time - before.time <= GAP;
      for (const [label, score] of results) {
        const color = this.ink(label);
        if (!lines.has(color)) lines.set(color, new Path2D());
        const joined = isNear && before.results.has(label);
        lines.get(color).moveTo(joined ? x(before.time) : x(time) - 1, y(joined ? before.results.get(label) : score));
        lines.get(color).lineTo(x(time), y(score));
      }
    }
    for (const [color, line] of lines) {
      context.strokeStyle = ink(color);
      context.stroke(line);
    }
    if (view) {
      context.fillStyle = ink("--ink");
      context.fillRect(x(view.time) - 1, top, 2, bottom - top + bars + 4);
    }
    context.restore();
    context.strokeStyle = ink("--track"); // around the names, so that they can be read over lines
    context.fillStyle = ink("--soft");
    context.lineWidth = 4;
    for (const [name, level] of Object.entries(this.levels)) {
      context.strokeText(`${name} ${level}`, left + 4, y(level) - 4);
      context.fillText(`${name} ${level}`, left + 4, y(level) - 4);
    }
    if (more) {
      context.textAlign = "left";
      context.fillText(`and ${more} more`, left, bottom + 14 + 6 * rows.size);
    }
    for (const { label, start, end } of this.events) {
      if (!rows.has(label)) continue;
      context.fillStyle = ink(this.ink(label));
      const begin = Math.max(left, x(start)), stop = Math.min(right, x(end ?? now));
      context.fillRect(begin, bottom + 3 + 6 * rows.get(label), Math.max(3, stop - begin), 4);
    }
  }

  /** Return the row of each label with events in the span, and how many more there are: those with the most time have rows. */
  rows() {
    const { start: from = -Infinity, end: to = Infinity } = this.view ?? {};
    const newest = Math.max(this.newest?.time ?? 0, ...this.events.map(event => event.end ?? event.start));
    const lasting = new Map();
    for (const { label, start, end } of this.events) {
      const time = Math.min(end ?? newest, to) - Math.max(start, from);
      if (time >= 0) lasting.set(label, (lasting.get(label) ?? 0) + time);
    }
    const first = [...lasting].sort((a, b) => b[1] - a[1]).slice(0, COLORS).map(([label]) => label);
    const shown = [...lasting.keys()].filter(label => first.includes(label)); // in the order in which they came
    const more = lasting.size - shown.length;
    this.canvas.dataset.more = more;
    return { rows: new Map(shown.map((label, row) => [label, row])), more };
  }
}
