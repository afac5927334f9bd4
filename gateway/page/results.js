// A task's result files: listed as they come, saved, and the overlaid video played.

import { $, attempt, make, put, wrong } from "./elements.js";
import { call, read } from "./rest.js";
import * as words from "./words.js";

const VIDEO = "overlaid_results.mp4";
const WRITERS = ["csv", "json", "chunks", "overlay", "notebook", "results"];

export function followResults(taskId) {
  const base = `tasks/${taskId}/results`, player = $("player");
  let known = "", played = "";

  /** Read the list when a step that writes some of them has ended since the last look. */
  function look({ steps }) {
    const ended = steps.filter(({ state }) => state === "succeeded").map(({ name }) => name);
    const now = ended.filter((name) => WRITERS.includes(name)).join();
    if (now === known) return;
    known = now;
    list().catch((error) => player.isConnected && error.status !== 404 && wrong(error));
  }

  async function list() {
    const found = [];
    let after = "";
    do {
      const from = after && `&after=${encodeURIComponent(after)}`;
      const answer = await read(`${base}?limit=1000${from}`);
      found.push(...answer.files);
      after = answer.after;
    } while (after);
    if (!player.isConnected) return;
    const parts = found.filter(({ path }) => path.includes("/"));
    $("files").replaceChildren(...found.filter((file) => !parts.includes(file)).map(fileRow));
    $("parts").lastElementChild.replaceChildren(...parts.map(fileRow));
    put($("parts").firstElementChild, `${words.count(parts.length)} parts`);
    $("parts").hidden = parts.length === 0;
    $("results").hidden = false;
  }

  function fileRow({ path, bytes, modified, link }) {
    const about = `${words.bytes(bytes)} · ${words.moment(modified)}`;
    const row = make("li", {}, make("span", { className: "name" }, path));
    row.append(make("span", { className: "hint" }, about));
    const presigned = /^https?:\/\//.test(link);
    // Below the gateway a file is asked for with the key, which no link can carry.
    const fetched = async () => {
      const answer = await call(`${base}/${path.split("/").map(encodeURIComponent).join("/")}`);
      return URL.createObjectURL(await answer.blob());
    };
    const button = (text, action) => {
      const one = make("button", { type: "button", className: "plain" }, text);
      one.ariaLabel = `${text} ${path}`;
      one.onclick = () => attempt(one, action);
      row.append(one);
    };
    if (path === VIDEO) button("Play", async () => play(presigned ? link : await fetched()));
    if (presigned) {
      row.append(make("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, "Save"));
    } else {
      button("Save", async () => {
        const source = await fetched();
        make("a", { href: source, download: path.split("/").pop() }).click();
        setTimeout(() => URL.revokeObjectURL(source), 60_000);
      });
    }
    return row;
  }

  function play(source) {
    URL.revokeObjectURL(player.isConnected ? played : source);
    played = source;
    player.replaceChildren(make("video", { controls: true, autoplay: true, src: source }));
  }

  return { look, stop: () => URL.revokeObjectURL(played) };
}
