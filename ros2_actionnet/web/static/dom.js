// Elements whose texts are texts: nothing that comes from a topic is ever read as markup.

export const byId = id => document.getElementById(id);

/** Return an element with properties and children; strings become text nodes. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const percent = score => (score > 0 && score < 0.005 ? "< 1%" : `${Math.round(100 * score)}%`);

/** Return the time of day of a stamp in seconds; stamps that count from a start are shown as minutes. */
export function clock(stamp) {
  if (stamp > 1e8) return new Date(1000 * stamp).toLocaleTimeString();
  const minutes = Math.floor(stamp / 60);
  return `${minutes}:${(stamp - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}
