// Moves about in a recording: plays it, and shows the picture, scores and events of a time.

import { clock, element } from "/static/dom.js";

const SPAN = 120; // s of scores that are shown
const AROUND = 90; // s of scores that are loaded on each side of the time
const TOP_UP = 500; // ms between two loads while the recording is being analyzed
const STEP = 1; // s, of an arrow key

export class Player {
  constructor(eventList) {
    this.eventList = eventList;
    this.time = 0;
    this.end = 0;
    this.playing = null; // { since, from }: the clock's time in ms, and the recording's in s
    this.events = [];
    this.samples = [];
    this.loaded = { from: 0, to: -1 };
    this.camera = null;

    this.button = element("button", { type: "button", className: "play" }, "Play");
    this.button.addEventListener("click", () => this.toggle());
    this.slider = element("input", { type: "range", min: 0, max: 0, step: "any", value: 0 });
    this.slider.setAttribute("aria-label", "Time");
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.marks = element("canvas", { className: "marks" });
    this.said = element("span", { className: "time" });
    this.root = element("div", { className: "player" }, this.button,
      element("div", { className: "track" }, this.slider, this.marks), this.said);
    new ResizeObserver(() => this.drawMarks()).observe(this.marks);
    document.addEventListener("keydown", event => this.key(event));
  }

  attach(camera) {
    if (this.camera === camera) return;
    this.camera = camera;
    camera.drawn = () => {};
    camera.root.classList.add("recorded");
    camera.scores.root.before(this.root);
    camera.scores.canvas.addEventListener("click", event => {
      const { start, end } = this.view(), box = camera.scores.canvas.getBoundingClientRect();
      this.seek(start + ((end - start) * (event.clientX - box.left - 8)) / (box.width - 16));
    });
    this.shown = undefined;
    this.loaded = { from: 0, to: -1 };
    this.listEvents();
    this.refresh();
  }

  /** Take in how far the recording has been analyzed. */
  update({ end, period, done, events }) {
    this.done = done;
    this.period = period;
    this.end = end;
    this.slider.max = end;
    this.slider.value = this.time;
    if (events !== this.known || done) this.loadEvents(events);
    this.refresh();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { target } = event, isSlider = target === this.slider;
    if (!isSlider && target.closest("input, select, textarea, [role=tab]")) return;
    if (event.key === " " && !target.closest("button, summary")) this.toggle();
    else if (event.key === "ArrowLeft") this.seek(this.time - STEP);
    else if (event.key === "ArrowRight") this.seek(this.time + STEP);
    else return;
    event.preventDefault();
  }

  toggle() {
    if (this.playing) return this.pause();
    if (this.done && this.time >= this.end) this.time = 0;
    this.playing = { since: performance.now(), from: this.time };
    this.button.textContent = "Pause";
    requestAnimationFrame(() => this.tick());
  }

  pause() {
    this.playing = null;
    this.button.textContent = "Play";
  }

  tick() {
    if (!this.playing) return;
    const time = this.playing.from + (performance.now() - this.playing.since) / 1000;
    this.time = Math.min(time, this.end);
    if (time > this.end) { // wait for the analysis, or stop
      if (this.done) this.pause();
      else this.playing = { since: performance.now(), from: this.end };
    }
    this.refresh();
    requestAnimationFrame(() => this.tick());
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.end);
    if (this.playing) this.playing = { since: performance.now(), from: this.time };
    this.refresh();
  }

  /** Return the span of the scores: the whole recording, or two minutes around the time. */
  view() {
    const span = Math.min(SPAN, this.end);
    const start = Math.min(Math.max(this.time - span / 2, 0), this.end - span);
    return { start, end: start + span, time: this.time };
  }

  refresh() {
    this.slider.value = this.time;
    this.slider.setAttribute("aria-valuetext", clock(this.time));
    this.said.textContent = `${clock(this.time)} / ${clock(this.end)}`;
    if (!this.camera) return;
    this.camera.scores.show(this.view(), this.samples, this.events);
    const now = this.camera.scores.current;
    if (now) this.camera.showBest([...now.results]);
    this.loadPicture();
    this.loadScores();
  }

  /** Load the picture of the time, and when it has come that of the time then. */
  async loadPicture() {
    if (this.isLoading || this.end === 0 && this.shown !== undefined || this.shown === this.time) return;
    this.isLoading = true;
    const { time, camera } = this;
    try {
      const response = await fetch(`/recording/picture?time=${time}`);
      const isMissing = response.status === 404 && this.end > 0; // before that, none has been analyzed yet
      if (response.ok) await camera.show(await response.arrayBuffer());
      else if (isMissing) camera.showNone(await response.text());
      else await new Promise(resolve => setTimeout(resolve, 1000));
      if (response.ok || isMissing) this.shown = time;
      camera.root.dataset.shown = time;
    } catch {
      await new Promise(resolve => setTimeout(resolve, 1000)); // the connection is lost; another is being made
    }
    this.isLoading = false;
    if (this.shown !== this.time) this.loadPicture();
  }

  async loadScores() {
    const { start, end } = this.view(), { from, to } = this.loaded;
    const isThere = start >= from && end <= to;
    if (isThere || this.isLoadingScores) return;
    this.isLoadingScores = true;
    const wanted = { from: Math.max(0, this.time - AROUND), to: Math.min(this.end, this.time + AROUND) };
    // Near the ends the span reaches further to one side.
    wanted.from = Math.min(wanted.from, start);
    wanted.to = Math.max(wanted.to, end);
    try {
      const response = await fetch(`/recording/scores?from=${wanted.from}&to=${wanted.to}`);
      if (response.ok) {
        const { labels, rows } = await response.json();
        this.samples = rows.map(([time, results]) => ({ time, results: new Map(results.map(([label, score]) => [labels[label], score])) }));
        this.loaded = wanted;
      }
    } catch { /* tried again */ }
    setTimeout(() => { this.isLoadingScores = false; this.refresh(); }, this.done ? 50 : TOP_UP);
    this.refresh();
  }

  async loadEvents(count) {
    if (this.isLoadingEvents) return;
    this.isLoadingEvents = true;
    try {
      const response = await fetch("/recording/events");
      if (response.ok) {
        const { events, omitted } = await response.json();
        [this.events, this.omitted, this.known] = [events, omitted, count];
        this.listEvents();
        this.refresh();
      }
    } catch { /* tried again with the next message */ }
    this.isLoadingEvents = false;
    if (this.done && !this.isWhole) { // one that was on may have ended meanwhile
      this.isWhole = true;
      this.loadEvents(count);
    }
  }

  listEvents() {
    if (!this.camera) return;
    const { scores } = this.camera;
    for (const { label } of this.events) if (scores.colors.size < 8) scores.color(label);
    this.eventList.showAll(this.events, this.omitted ?? 0, label => scores.colors.get(label), time => this.seek(time));
    this.drawMarks();
  }

  /** Draw the events of the whole recording under the slider. */
  drawMarks() {
    const scale = devicePixelRatio || 1, width = this.marks.clientWidth, height = this.marks.clientHeight;
    if (!width || !this.camera) return;
    this.marks.width = Math.round(width * scale);
    this.marks.height = Math.round(height * scale);
    const context = this.marks.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.scale(scale, scale);
    const x = time => (this.end ? (time / this.end) * width : 0);
    for (const { label, start, end } of this.events) {
      context.fillStyle = style.getPropertyValue(this.camera.scores.ink(label)).trim();
      context.fillRect(x(start), 0, Math.max(2, x(end ?? this.end) - x(start)), height);
    }
  }
}
