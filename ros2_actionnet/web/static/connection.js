// The websocket to the server: messages and frames in, requests out, and a new one whenever it is lost.

export class Connection {
  /** `handlers`: opened(), lost(), message(object), frame(stream, time, jpeg). */
  constructor(handlers) {
    this.handlers = handlers;
    this.answers = new Map();
    this.number = 0;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.handlers.opened();
    this.socket.onclose = () => {
      for (const answer of this.answers.values()) answer("the connection was lost; try it again");
      this.answers.clear();
      this.handlers.lost();
      setTimeout(() => this.open(), 1000);
    };
    this.socket.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        const head = new DataView(data);
        this.handlers.frame(head.getUint32(0), head.getFloat64(4), data.slice(12));
        return;
      }
      const message = JSON.parse(data);
      if (message.type === "answer") {
        this.answers.get(message.id)?.(message.reason);
        this.answers.delete(message.id);
      } else {
        this.handlers.message(message);
      }
    };
  }

  tell(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Send a request; resolves to the reason of its refusal, "" if it was done. */
  ask(message) {
    return new Promise(resolve => {
      if (this.socket.readyState !== WebSocket.OPEN) return resolve("there is no connection; try it again");
      const id = (this.number += 1);
      this.answers.set(id, resolve);
      this.tell({ ...message, id });
    });
  }
}
