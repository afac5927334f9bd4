// One task, live: its steps, its timeline, and what can be done with it.

import { $, attempt, fillRow, make, makeRow, put, say, wrong } from "./elements.js";
import { read, watch } from "./rest.js";
import { followResults } from "./results.js";
import * as words from "./words.js";

const OPEN = ["queued", "running", "waiting"];
const LINK = { live: "live", lost: "The connection is lost: trying again…" };

export function showTask(taskId) {
  const steps = new Map(), told = new Set(), results = followResults(taskId);
  let before = "";

  function status({ kind, user_id, process_status: process }) {
    const { state, percent, remaining_seconds: left } = process;
    $("task").dataset.state = state;
    put($("state"), state);
    put($("about"), [kind, user_id, words.moment(process.created)].join(" · "));
    $("percent").value = percent;
    put($("percent-text"), words.percent(percent));
    put($("left"), left === null ? "" : `About ${words.duration(left)} left`);
    put($("error"), process.error);
    $("cancel").hidden = !OPEN.includes(state);
    document.title = `${words.percent(percent)} ${state} · ${taskId}`;
    for (const step of process.steps) {
      if (!steps.has(step.name)) {
        const title = words.stepName(step.name);
        steps.set(step.name, makeRow(make("span", { className: "name" }, title), title));
        $("steps").append(steps.get(step.name).element);
      }
      fillStep(steps.get(step.name), step);
    }
    fillRun(process.pipeline_run);
    fillWaiting(process);
    results.look(process);
    if (before && before !== state) say(`The task is ${state}.`);
    before = state;
  }

  function heard({ event, id, data }) {
    if (event === "status") {
      status(data);
    } else if (!told.has(id)) {
      told.add(id);
      $("quiet").hidden = true;
      $("timeline").prepend(happening(data));
      if (before) say(words.eventName(event));
    }
  }

  function linked(how, error) {
    $("link").dataset.link = how;
    put($("link"), LINK[how] ?? "");
    if (error) wrong(error);
  }

  $("title").textContent = taskId;
  $("cancel").onclick = () => $("sure").showModal();
  $("no").onclick = () => $("sure").close();
  $("yes").onclick = () => {
    const kept = $("kept");
    $("sure").close();
    attempt($("cancel"), async () => {
      const answer = await read(`tasks/${taskId}`, { method: "DELETE" });
      const folders = answer.kept.map((one) => `${one.folder} (${words.bytes(one.bytes)})`);
      put(kept, folders.length ? `Kept of it: ${folders.join(", ")}` : "");
    });
  };
  const unwatch = watch(taskId, heard, linked);
  return () => {
    unwatch();
    results.stop();
  };
}

function fillStep(row, step) {
  const skipped = step.state === "succeeded" && step.facts.skipped === true;
  const aside = [];
  if (!skipped) {
    aside.push(words.amount(step));
    if (step.remaining_seconds !== null) {
      aside.push(`about ${words.duration(step.remaining_seconds)} left`);
    } else if (step.started && step.ended) {
      aside.push(words.duration((new Date(step.ended) - new Date(step.started)) / 1000));
    }
    aside.push(step.attempt > 1 ? `attempt ${step.attempt}` : "");
  }
  fillRow(row, step, skipped ? "not needed" : step.state, aside);
}

/** The page of the run that trains, and why it could not be looked at of late. */
function fillRun(run) {
  const safe = isWeb(run?.url);
  $("run").hidden = !safe && !run?.note;
  $("run").firstElementChild.hidden = !safe;
  if (safe) $("run").firstElementChild.href = run.url;
  $("run").lastElementChild.textContent = run?.note ?? "";
}

/** Nothing but an address of the web becomes a link: no script, no file. */
function isWeb(url) {
  return /^https?:\/\//.test(url ?? "");
}

/** Where people label, a tool or a folder, and how far they are. */
function fillWaiting({ state, steps }) {
  const labels = steps.find(({ name }) => name === "labels");
  const { tool, project, url } = steps.find(({ name }) => name === "labeling")?.facts ?? {};
  $("waiting").hidden = state !== "waiting" || labels?.state !== "waiting";
  if (labels) put($("labelled"), words.labelled(labels));
  const safe = isWeb(url);
  $("tool").hidden = !safe;
  if (safe) $("tool").firstElementChild.href = url;
  $("where").hidden = !project || (tool ?? "folder") !== "folder";
  put($("images"), `${project}/images`);
  put($("written"), `${project}/labels`);
}

function happening({ name, time, data }) {
  const when = make("time", { dateTime: time }, words.moment(time));
  const what = make("div", {}, make("strong", {}, words.eventName(name)), " ", when);
  const facts = make("div", { className: "hint" }, words.facts(data));
  return make("li", { className: name === "STEP_FAILED" ? "bad" : "" }, what, facts);
}
