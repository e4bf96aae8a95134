// The parameters of a node as fields, in the groups that the server states.

import { byId, element } from "/static/dom.js";

const OPEN_GROUPS = 2;

export class Parameters {
  /** `set(name, value)` resolves to the reason of a refusal. */
  constructor(set) {
    this.set = set;
    this.form = byId("parameters");
    this.form.addEventListener("submit", event => event.preventDefault());
    this.clear();
  }

  clear() {
    this.fields = new Map();
    this.groups = new Map();
    this.form.replaceChildren();
  }

  show(parameters, readOnly) {
    byId("parameters-note").textContent = readOnly ? "This page is read-only" : "Enter sets a value, Escape takes it back";
    const names = new Set(parameters.map(parameter => parameter.name));
    for (const [name, field] of this.fields) {
      if (!names.has(name)) {
        field.root.remove();
        this.fields.delete(name);
      }
    }
    for (const parameter of parameters) {
      let field = this.fields.get(parameter.name);
      if (!field) {
        field = new Field(parameter, value => this.set(parameter.name, value), readOnly);
        this.fields.set(parameter.name, field);
        this.group(parameter.group).append(field.root);
      }
      field.update(parameter.value);
    }
    for (const [name, group] of this.groups) {
      if (!group.children.length) {
        group.parentElement.remove();
        this.groups.delete(name);
      }
    }
  }

  group(name) {
    if (!this.groups.has(name)) {
      const fields = element("div", { className: "fields" });
      this.form.append(element("details", { open: this.groups.size < OPEN_GROUPS }, element("summary", {}, name), fields));
      this.groups.set(name, fields);
    }
    return this.groups.get(name);
  }
}

class Field {
  constructor(parameter, set, readOnly) {
    this.parameter = parameter;
    this.set = set;
    const { name, kind, description, choices, suggestions, minimum, maximum, limits } = parameter;
    const id = `parameter-${name}`;
    this.said = element("p", {});
    this.said.setAttribute("role", "status");
    let control;
    if (kind === "bool") {
      this.input = element("input", { type: "checkbox" });
    } else if (choices.length) {
      this.input = element("select", {}, ...choices.map(choice => element("option", { value: choice }, choice)));
    } else {
      this.input = element("input", { type: "text", autocomplete: "off", spellcheck: false });
      if (suggestions.length) {
        const list = element("datalist", { id: `${id}-list` }, ...suggestions.map(value => element("option", { value })));
        this.input.setAttribute("list", list.id);
        control = element("div", {}, this.input, list);
      } else if (minimum !== null && maximum !== null && (kind === "double" || kind === "integer")) {
        const step = kind === "integer" ? 1 : (maximum - minimum) / 100;
        this.slider = element("input", { type: "range", min: minimum, max: maximum, step });
        this.slider.setAttribute("aria-label", name);
        this.slider.disabled = readOnly;
        this.slider.addEventListener("input", () => { this.input.value = this.slider.value; });
        this.slider.addEventListener("change", () => this.send(Number(this.slider.value)));
        control = element("div", { className: "pair" }, this.slider, this.input);
      }
    }
    this.input.id = id;
    this.input.name = name;
    this.input.disabled = readOnly;
    this.input.setAttribute("aria-describedby", `${id}-about`);
    this.input.addEventListener("change", () => this.send(this.read()));
    this.input.addEventListener("keydown", event => {
      if (event.key === "Escape") {
        this.said.textContent = "";
        this.write();
      }
    });
    this.root = element("div", { className: "field" },
      element("label", { htmlFor: id }, name, element("span", {}, choices.length ? "" : limits)),
      control ?? this.input, element("p", { id: `${id}-about` }, description), this.said);
  }

  /** Show the node's value, but leave alone what is being typed. */
  update(value) {
    this.value = value;
    if (document.activeElement !== this.input) this.write();
  }

  write() {
    if (this.parameter.kind === "bool") this.input.checked = this.value;
    else if (Array.isArray(this.value)) this.input.value = this.value.join(", ");
    else this.input.value = this.value;
    if (this.slider) this.slider.value = this.value;
  }

  /** Return what is typed in the parameter's type; what is no number is sent as text, so that the node says why not. */
  read() {
    const { kind } = this.parameter;
    if (kind === "bool") return this.input.checked;
    const text = this.input.value.trim();
    const number = part => (part !== "" && Number.isFinite(Number(part)) ? Number(part) : part);
    if (kind === "double" || kind === "integer") return number(text);
    if (kind.endsWith("_array")) {
      const parts = text === "" ? [] : text.split(",").map(part => part.trim());
      return kind === "double_array" ? parts.map(number) : parts;
    }
    return text;
  }

  async send(value) {
    this.said.className = "";
    this.said.textContent = "setting …";
    const reason = await this.set(value);
    this.said.className = reason ? "refusal" : "done";
    this.said.textContent = reason || "set";
    if (reason) {
      if (this.parameter.kind === "bool" || this.parameter.choices.length || this.slider) this.write();
    } else {
      setTimeout(() => { if (this.said.className === "done") this.said.textContent = ""; }, 3000);
    }
  }
}
