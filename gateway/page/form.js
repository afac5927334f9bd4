// A new task: a video by its address, or sent along.

import { $, attempt, put } from "./elements.js";
import { read, send } from "./rest.js";
import * as words from "./words.js";

const stay = (event) => event.preventDefault();

export function showForm() {
  const form = $("form"), sending = $("sending"), sent = $("sent"), sentText = $("sent-text");
  const source = () => form.elements.source.value;
  const listed = (id) => $(id).value.split(",").map((word) => word.trim()).filter(Boolean);
  // A repeated POST of the same form must not make a second task.
  let once = "";

  form.oninput = () => {
    once = "";
    for (const part of form.querySelectorAll("[data-source]")) {
      part.hidden = part.querySelector("input").disabled = part.dataset.source !== source();
    }
    $("points").hidden = $("kind").value !== "pose";
  };

  /** What is asked for; what is left empty is the gateway's to choose. */
  function request() {
    const body = { task: $("kind").value, names: listed("names") };
    body.labels_path = $("labels").value.trim();
    if (body.task === "pose") body.keypoints = listed("keypoints");
    if ($("frames").value) body.num_frames = $("frames").valueAsNumber;
    if ($("epochs").value) body.training = { epochs: $("epochs").valueAsNumber };
    return body;
  }

  function submit() {
    // crypto.randomUUID is there on https only.
    once ||= crypto.getRandomValues(new Uint32Array(4)).join("-");
    const headers = { "Idempotency-Key": once };
    if (source() === "file") return upload(headers);
    headers["Content-Type"] = "application/json";
    const body = JSON.stringify({ ...request(), file_path: $("place").value.trim() });
    return read("tasks/", { method: "POST", body, headers });
  }

  async function upload(headers) {
    const parts = new FormData();
    parts.append("request", JSON.stringify(request()));
    parts.append("video", $("file").files[0]);
    const { answer, abort } = send("tasks/", parts, headers, (done, total) => {
      sent.value = (100 * done) / total;
      put(sentText, `${words.bytes(done)} of ${words.bytes(total)}`);
    });
    $("abort").onclick = abort;
    sending.hidden = false;
    addEventListener("beforeunload", stay);
    try {
      return await answer;
    } finally {
      removeEventListener("beforeunload", stay);
      sending.hidden = true;
    }
  }

  form.onsubmit = (event) => {
    event.preventDefault();
    attempt($("submit"), async () => {
      const { task_id } = await submit();
      // Who has gone elsewhere while it was sent finds it in the list.
      if (form.isConnected) location.hash = `#${task_id}`;
    });
  };
}
