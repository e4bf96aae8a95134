// Shows a stream (WHEP), or sends this device's camera (WHIP): an SDP offer is posted, and the answer comes back.
const { role, name, iceServers } = document.body.dataset;
const video = document.querySelector("video");
const status = document.querySelector("[role=status]");
const button = document.querySelector("button");
const path = `/${name}/${role === "view" ? "whep" : "whip"}`;
const GATHERING = 2000; // ms, the longest wait for the addresses of this device
const RETRY = 2000; // ms
let connection = null;
let session = null;

function say(text) {
  status.textContent = text;
}

async function gathered(peer) {
  if (peer.iceGatheringState === "complete") return;
  await new Promise((resolve) => {
    setTimeout(resolve, GATHERING);
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve());
  });
}

async function connect(prepare) {
  leave();
  const peer = new RTCPeerConnection({ iceServers: JSON.parse(iceServers).map((urls) => ({ urls })) });
  connection = peer;
  prepare(peer);
  peer.addEventListener("connectionstatechange", () => {
    if (peer !== connection) return;
    if (peer.connectionState === "connected") say(role === "view" ? "" : "The camera is being sent.");
    if (["failed", "disconnected"].includes(peer.connectionState)) again(prepare, "The connection is lost.");
  });
  try {
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const headers = { "Content-Type": "application/sdp" };
    const answer = await fetch(path, { method: "POST", headers, body: peer.localDescription.sdp });
    if (answer.status !== 201) throw new Error((await answer.text()).trim() || answer.statusText);
    session = answer.headers.get("Location");
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  } catch (error) {
    if (peer === connection) again(prepare, error.message);
  }
}

function again(prepare, reason) {
  leave();
  say(`${reason} Trying again ...`);
  setTimeout(() => connection === null && connect(prepare), RETRY);
}

function leave() {
  if (session !== null) fetch(session, { method: "DELETE", keepalive: true }).catch(() => {});
  if (connection !== null) connection.close();
  connection = session = null;
}

function watch(peer) {
  const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
  if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // ms: the newest picture, at once
  peer.addEventListener("track", ({ track }) => {
    video.srcObject = new MediaStream([track]);
  });
}

async function share() {
  if (!navigator.mediaDevices) {
    say("A browser sends its camera only over https or from localhost: start actionnet with --ssl-cert and --ssl-key.");
    return;
  }
  try {
    const camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.srcObject = camera;
    connect((peer) => camera.getVideoTracks().forEach((track) => peer.addTrack(track, camera)));
  } catch (error) {
    say(`There is no camera to send: ${error.message}`);
  }
}

addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => event.persisted && location.reload());
if (role === "view") connect(watch);
else button.addEventListener("click", share);
