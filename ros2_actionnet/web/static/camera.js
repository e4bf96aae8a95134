// One camera: its picture, its best class and its scores.

import { element, percent } from "/static/dom.js";
import { Scores } from "/static/scores.js";

export class Camera {
  /** `drawn` is called after each frame that was drawn, `reset` by the button; null for no button. */
  constructor(stream, name, drawn, reset) {
    this.stream = stream;
    this.drawn = drawn;
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", name ? `Video of ${name}` : "Video");
    this.waiting = element("p", {}, "Waiting for a picture …");
    this.best = element("p", { className: "best" });
    this.scores = new Scores();
    const header = element("header", {}, element("div", {}, ...(name ? [element("h2", {}, name)] : []), this.best));
    this.root = element("section", {}, header,
      element("div", { className: "picture" }, this.canvas, this.waiting), this.scores.root);
    this.root.dataset.camera = name;
    this.root.setAttribute("aria-label", name ? `Camera ${name}` : "Camera");
    if (reset) {
      const said = element("span", { className: "note" });
      said.setAttribute("role", "status");
      const button = element("button", { type: "button", title: "Empty the window, so that it is filled anew" }, "Reset");
      button.addEventListener("click", async () => {
        said.textContent = (await reset()) || "window cleared";
        setTimeout(() => { said.textContent = ""; }, 5000);
      });
      header.append(element("div", { className: "pair" }, said, button));
    }
  }

  addScores(time, results) {
    this.scores.add(time, results);
    this.showBest(results);
  }

  showBest([best]) { this.best.textContent = best ? `${best[0]} ${percent(best[1])}` : "none"; }

  async show(jpeg) {
    try {
      const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
      if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
        this.canvas.width = picture.width;
        this.canvas.height = picture.height;
        this.canvas.parentElement.style.aspectRatio = `${picture.width} / ${picture.height}`;
      }
      this.canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      this.waiting.hidden = true;
    } catch {
      this.showNone("A picture could not be decoded.");
    }
    this.drawn();
  }

  /** Show why there is no picture in its place. */
  showNone(why) {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.waiting.hidden = false;
    this.waiting.textContent = why;
  }
}
