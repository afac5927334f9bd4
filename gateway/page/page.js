// The live page: asks for a key, and shows the view that the address's fragment names.

import { $, attempt, put } from "./elements.js";
import { showForm } from "./form.js";
import { showList } from "./list.js";
import { currentKey, forgetKey, keepKey, read } from "./rest.js";
import { showTask } from "./task.js";

const VIEWS = { ask: showAsk, list: showList, new: showForm, task: showTask };
let stop = () => {};

function show() {
  const asked = location.hash.slice(1);
  let view = asked === "new" ? "new" : "list";
  // What becomes a part of the paths that are called is an id and nothing else.
  if (/^t-\w{1,32}$/.test(asked)) view = "task";
  if (!currentKey()) view = "ask";
  stop();
  document.title = "actverse";
  put($("wrong"), "");
  $("nav").hidden = view === "ask";
  $("view").replaceChildren($(`${view}-view`).content.cloneNode(true));
  $("title").focus();
  stop = VIEWS[view](asked) ?? (() => {});
}

function showAsk() {
  $("key").focus();
  $("ask").onsubmit = (event) => {
    event.preventDefault();
    attempt($("enter"), async () => {
      const key = $("key").value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) throw new Error("This is no API key: look at its signs.");
      await read("tasks/?limit=1", { headers: { Authorization: `Bearer ${key}` } });
      keepKey(key);
      show();
    });
  };
}

$("leave").onclick = () => {
  forgetKey();
  location.hash = "";
  // What was read with the key goes with it.
  location.reload();
};
addEventListener("hashchange", show);
show();
