// The page: nodes as tabs, and what the server says shown for the one that is selected.

import { Camera } from "/static/camera.js";
import { Connection } from "/static/connection.js";
import { byId, element } from "/static/dom.js";
import { Events } from "/static/events.js";
import { showHealth } from "/static/health.js";
import { Parameters } from "/static/parameters.js";
import { Player } from "/static/player.js";

let nodes = []; // { name, streams: [{ id, camera }] }
let selected = ""; // the node that is shown
let chosen = ""; // the tab that was clicked: shown again when its node comes back
let readOnly = false;
let parameters = new Map(); // node -> its parameters
let health = new Map(); // node -> its statuses
let scores = new Map(); // stream -> the messages of the last two minutes, of all nodes
let events = new Map(); // stream -> its events
let player = null; // of a recording
let cameras = new Map(); // stream -> Camera, of the selected node
const SPAN = 120, MOST_EVENTS = 100;
const PARAMETERS_OF_A_RECORDING = "To try others, run the command again";

const eventList = new Events();
const fields = new Parameters((name, value) => connection.ask({ type: "set", node: selected, name, value }));
const connection = new Connection({
  opened() {
    state("live", "live");
    nodes = [];
    for (const map of [parameters, health, scores, events]) map.clear();
    select();
    rebuild();
  },
  lost() { state("lost", "connection lost, trying again …"); },
  message(message) { HANDLERS[message.type]?.(message); },
  frame(stream, time, jpeg) {
    const camera = cameras.get(stream);
    if (camera) camera.show(jpeg);
    else connection.tell({ type: "drawn", stream });
  },
});

const HANDLERS = {
  hello(message) { readOnly = message.readOnly; },
  nodes(message) {
    const before = JSON.stringify(nodeSelected());
    nodes = message.nodes;
    forget([scores, events], nodes.flatMap(node => node.streams.map(stream => stream.id)));
    forget([parameters, health], nodes.map(node => node.name));
    select();
    if (before !== JSON.stringify(nodeSelected())) rebuild();
    else showTabs(); // another node came or went: what is being typed stays
  },
  history(message) { for (const [time, results] of message.scores) addScores(message.stream, time, results); },
  scores(message) { addScores(message.stream, message.time, message.results); },
  event(message) {
    const kept = events.get(message.stream) ?? [];
    events.set(message.stream, [...kept, message].slice(-MOST_EVENTS));
    showEvent(message);
  },
  recording(message) {
    if (!player) {
      player = new Player(eventList);
      byId("kicker").textContent = "Actions, recorded";
      const camera = cameras.get(message.stream);
      if (camera) player.attach(camera);
    }
    player.update(message);
    state("live", message.done ? "connected" : "being analyzed");
    byId("parameters-note").textContent = PARAMETERS_OF_A_RECORDING;
  },
  health(message) {
    health.set(message.node, message.statuses);
    if (message.node === selected) showHealth(message.statuses);
  },
  parameters(message) {
    parameters.set(message.node, message.parameters);
    if (message.node === selected) showParameters();
  },
};

/** Drop what is kept of cameras or nodes that are gone. */
function forget(maps, present) {
  const kept = new Set(present);
  for (const map of maps) {
    for (const key of [...map.keys()]) if (!kept.has(key)) map.delete(key);
  }
}

function state(name, text) {
  byId("connection").dataset.state = name;
  byId("connection").textContent = text;
}

function addScores(stream, time, results) {
  let kept = scores.get(stream) ?? [];
  if (kept.length && time < kept.at(-1)[0]) kept = [];
  kept.push([time, results]);
  while (kept[0][0] < time - SPAN) kept.shift();
  scores.set(stream, kept);
  cameras.get(stream)?.addScores(time, results);
}

function showEvent(message) {
  const camera = cameras.get(message.stream);
  if (!camera) return;
  camera.scores.addEvent(message);
  const name = nodeSelected()?.streams.find(stream => stream.id === message.stream)?.camera ?? "";
  eventList.add(message, name, camera.scores.color(message.label));
}

function showParameters() {
  const all = parameters.get(selected) ?? [];
  fields.show(all, readOnly);
  if (player) byId("parameters-note").textContent = PARAMETERS_OF_A_RECORDING;
  const value = (camera, name) => (all.find(p => p.name === `${camera}.${name}`) ?? all.find(p => p.name === name))?.value;
  for (const { id, camera } of nodeSelected()?.streams ?? []) {
    const levels = {};
    for (const name of ["event_on", "event_off"]) {
      if (value(camera, name) !== undefined) levels[name] = value(camera, name);
    }
    cameras.get(id)?.scores.setLevels(levels);
  }
}

const nodeSelected = () => nodes.find(node => node.name === selected);

function select() {
  selected = (nodes.find(node => node.name === chosen) ?? nodes[0])?.name ?? "";
}

function rebuild() {
  byId("title").textContent = selected || "Looking for nodes …";
  document.title = selected ? `${selected} – actions` : "Actions";
  byId("node").hidden = !selected;
  byId("none").hidden = Boolean(selected);
  showTabs();
  cameras = new Map((nodeSelected()?.streams ?? []).map(({ id, camera }) => [id, new Camera(
    id, camera, () => connection.tell({ type: "drawn", stream: id }),
    readOnly ? null : () => connection.ask({ type: "reset", node: selected, camera }))]));
  byId("cameras").classList.toggle("several", cameras.size > 1);
  byId("cameras").replaceChildren(...[...cameras.values()].map(camera => camera.root));
  eventList.clear();
  fields.clear();
  for (const [id, camera] of cameras) {
    for (const [time, results] of scores.get(id) ?? []) camera.addScores(time, results);
    (events.get(id) ?? []).forEach(showEvent);
  }
  const [camera] = cameras.values();
  if (player && camera) player.attach(camera);
  showHealth(health.get(selected) ?? []);
  showParameters();
  connection.tell({ type: "watch", streams: [...cameras.keys()] });
}

function choose(name) {
  chosen = name;
  select();
  rebuild();
  byId("tabs").querySelector('[aria-selected="true"]')?.focus();
}

function showTabs() {
  const tabs = byId("tabs");
  tabs.hidden = nodes.length < 2;
  tabs.replaceChildren(...nodes.map(({ name }) => {
    const tab = element("button", { type: "button", tabIndex: name === selected ? 0 : -1 }, name);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", String(name === selected));
    tab.setAttribute("aria-controls", "node");
    tab.addEventListener("click", () => choose(name));
    return tab;
  }));
}

byId("tabs").addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const index = nodes.findIndex(node => node.name === selected);
  choose(nodes[(index + step + nodes.length) % nodes.length].name);
});
