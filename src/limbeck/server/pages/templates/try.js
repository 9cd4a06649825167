{% include "common.js" %}

// A model is tried: what is typed, dropped or pasted is sent, and the answer drawn.
const TOP = 10;
const HUES = 10;
// Nothing is rounded to certainty.
function asPercent(share) {
  if (share < 0.0005) return "< 0.1 %";
  return share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}
const asNumber = (value) => Number(value.toPrecision(6)).toString();
let models = [];
let limits = {};
let model = null;
let image = null;
let isAsking = false;
let imageUrl = "";

// 1. Which model.
function showList() {
  model = null;
  document.title = "limbeck";
  show("title", "Models");
  show("about", models.length ? "Choose one to try it." : "No model is served.");
  show("trying").hidden = true;
  const items = models.map((each) => {
    const link = element("a", { href: new URL(`models/${each.model}`, root).href }, each.model);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      // In this page: the token would be lost in another.
      event.preventDefault();
      history.pushState(null, "", link.href);
      showModel(each);
      byId("main").focus();
    });
    return element("li", {}, link, element("div", { class: "muted" }, aboutOf(each)));
  });
  byId("models").replaceChildren(...items);
  show("models");
}

function aboutOf(each) {
  const labels = each.num_labels ? `, ${wholeNumber.format(each.num_labels)} labels` : "";
  return `${each.task}${labels}; version ${each.version}`;
}

function showModel(found) {
  model = found;
  document.title = `${model.model} · limbeck`;
  show("title", model.model);
  show("about", aboutOf(model));
  show("models").hidden = true;
  const readsImages = model.reads === "image";
  show("texts").hidden = readsImages;
  show("images").hidden = !readsImages;
  show("keys").hidden = readsImages;
  show("second").hidden = !model.reads_pairs;
  byId("one-will-do").hidden = model.needs_pair;
  for (const id of ["refused", "answer", "request"]) byId(id).hidden = true;
  show("trying");
}

function choose() {
  const name = location.href.startsWith(root.href)
    ? decodeURIComponent(location.pathname.slice(root.pathname.length)).replace(/^models\//, "")
    : document.body.dataset.model;
  const wanted = models.find((each) => each.model === name);
  if (name && !wanted && name === document.body.dataset.model) throw new Refused("no model of this name is served", 404);
  if (wanted) showModel(wanted);
  else if (models.length === 1) showModel(models[0]);
  else showList();
}

// 2. The request: what is sent, and the lines that send the same.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function requestOf() {
  const path = `predict/${model.model}`;
  if (model.reads === "image") {
    if (!image) throw new Refused("Choose an image first.", 0);
    const kind = image.type.startsWith("image/") ? image.type : "application/octet-stream";
    return { path, body: image, kind, lines: linesOf(path, kind, null, image.name || "image.png") };
  }
  const row = { text: byId("text").value };
  if (!row.text.trim()) throw new Refused("Write a text first.", 0);
  if (model.needs_pair && !byId("text-b").value.trim()) throw new Refused("Write the second text, too.", 0);
  if (model.reads_pairs && byId("text-b").value.trim()) row.text_b = byId("text-b").value;
  const body = JSON.stringify(row);
  return { path, body, kind: "application/json", lines: linesOf(path, "application/json", body, "") };
}

// A text of JSON is one of Python and of JavaScript, too.
function linesOf(path, kind, body, file) {
  const url = new URL(path, root).href;
  const data = body === null ? `--data-binary ${quoted(`@${file}`)}` : `-d ${quoted(body)}`;
  const name = JSON.stringify(file);
  const curl = [`curl -s ${quoted(url)}`, `-H 'Content-Type: ${kind}'`, data];
  const python = [
    `import json${token ? ", os" : ""}, urllib.request`,
    `headers = {"Content-Type": "${kind}"}`,
    `body = ${body === null ? `open(${name}, "rb").read()` : `json.dumps(${body}).encode()`}`,
    `request = urllib.request.Request(${JSON.stringify(url)}, body, headers)`,
    "print(json.load(urllib.request.urlopen(request)))",
  ];
  const script = [
    `const headers = {"Content-Type": "${kind}"};`,
    body === null
      ? `const body = await (await import("node:fs/promises")).readFile(${name});`
      : `const body = JSON.stringify(${body});`,
    `const answer = await fetch(${JSON.stringify(url)}, {method: "POST", headers, body});`,
    "console.log(JSON.stringify(await answer.json()));",
  ];
  if (token) {
    // The token itself is in no line: lines are copied into chats and scripts.
    curl.splice(1, 0, '-H "Authorization: Bearer $TOKEN"');
    python.splice(2, 0, 'headers["Authorization"] = "Bearer " + os.environ["TOKEN"]');
    script.splice(1, 0, 'headers.Authorization = "Bearer " + process.env.TOKEN;');
  }
  return { curl: curl.join(" "), Python: python.join("\n"), JavaScript: script.join("\n") };
}

function showLines(request) {
  const notes = [];
  if (token) notes.push("The lines take the token from the environment: export TOKEN=...");
  if (request.body instanceof Blob) notes.push("They read the image from the folder in which they are run.");
  show("request-note", notes.join(" "));
  const blocks = Object.entries(request.lines).map(([name, line]) => {
    const button = element("button", { type: "button", class: "quiet small" }, "Copy");
    button.setAttribute("aria-label", `Copy the ${name} line`);
    button.addEventListener("click", () => copy(button, line));
    const head = element("div", { class: "row" }, element("h3", {}, name), button);
    const code = element("code", { id: `line-${name}` }, line);
    const shown = element("pre", { tabindex: "0", role: "group", "aria-label": `${name} line` }, code);
    return element("div", { class: "line-of-code" }, head, shown);
  });
  byId("lines").replaceChildren(...blocks);
  show("request");
}

async function copy(button, line) {
  try {
    await navigator.clipboard.writeText(line);
    button.textContent = "Copied";
  } catch {
    // A page of plain HTTP on another machine may not: then the line is marked.
    getSelection().selectAllChildren(button.closest(".line-of-code").querySelector("code"));
    button.textContent = "Marked: copy it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// 3. The answer.
function bars(pairs, chosen) {
  const list = element("ol", { class: "bars" });
  const draw = (shown) => list.replaceChildren(...pairs.slice(0, shown).map(([label, share]) => {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${100 * share}%`;
    const isChosen = chosen.has(label);
    const name = element("span", { class: "label" }, label, isChosen ? " ✓" : "");
    const track = element("span", { class: "track", "aria-hidden": "true" }, fill);
    const value = element("span", { class: "value" }, asPercent(share));
    return element("li", isChosen ? { class: "chosen" } : {}, name, track, value);
  }));
  draw(TOP);
  const parts = [list];
  if (pairs.length > TOP) {
    const all = `Show all ${wholeNumber.format(pairs.length)}`;
    const more = element("button", { type: "button", class: "quiet small more", "aria-expanded": "false" }, all);
    more.addEventListener("click", () => {
      const isOpen = more.getAttribute("aria-expanded") === "true";
      more.setAttribute("aria-expanded", String(!isOpen));
      more.textContent = isOpen ? all : `Show the first ${TOP}`;
      draw(isOpen ? TOP : pairs.length);
    });
    parts.push(more);
  }
  return parts;
}

const byShare = (probabilities) => Object.entries(probabilities).sort((a, b) => b[1] - a[1]);

// The sentence with its entities coloured. Places are code points, and a text of JavaScript has UTF-16.
function marked(text, entities) {
  const points = Array.from(text);
  const kinds = [...new Set(entities.map((each) => each.type))];
  const parts = [];
  let place = 0;
  for (const each of entities) {
    parts.push(points.slice(place, each.start).join(""));
    const hue = 1 + (kinds.indexOf(each.type) % (HUES - 1));
    const told = element("small", {}, ` ${each.type} ${asPercent(each.probability)}`);
    parts.push(element("mark", { class: `arm-${hue}` }, points.slice(each.start, each.end).join(""), told));
    place = each.end;
  }
  parts.push(points.slice(place).join(""));
  return element("p", { class: "sentence" }, ...parts);
}

function words(answer) {
  const rows = answer.words.map((word, i) => element("tr", {},
    element("th", { scope: "row" }, word), element("td", {}, answer.tags[i]),
    element("td", {}, asPercent(answer.probabilities[i]))));
  const head = element("tr", {}, ...["Word", "Tag", "Probability"].map((each) => element("th", { scope: "col" }, each)));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("details", {}, element("summary", {}, `All ${answer.words.length} words`),
    element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Words" }, table));
}

// A number on the range of the labels; beyond it, at its end.
function scale(value, [low, high]) {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  const point = element("div", { class: "point" });
  point.style.left = `${100 * share}%`;
  const ends = element("div", { class: "ends" }, element("span", {}, asNumber(low)), element("span", {}, asNumber(high)));
  const label = `${asNumber(value)} on a scale from ${asNumber(low)} to ${asNumber(high)}`;
  return element("div", { class: "scale", role: "img", "aria-label": label },
    element("div", { class: "track" }), point, ends);
}

function vector(values) {
  const shown = values.slice(0, 8).map(asNumber).join(", ");
  const more = values.length > 8 ? ", …" : "";
  return element("p", { class: "vector note" }, `[${shown}${more}] (${wholeNumber.format(values.length)} numbers)`);
}

const chips = (labels) => element("ul", { class: "chips" }, ...labels.map((each) => element("li", {}, each)));

// What an answer is in a line, and what is drawn below it.
function drawnAnswer(answer, text) {
  if (answer.label !== undefined) {
    const share = element("span", { class: "share" }, ` ${asPercent(answer.probability)}`);
    return [[answer.label, share], bars(byShare(answer.probabilities), new Set([answer.label]))];
  }
  if (answer.labels !== undefined) {
    const line = answer.labels.length ? `${answer.labels.length} of ${Object.keys(answer.probabilities).length} labels` : "No label";
    const parts = answer.labels.length ? [chips(answer.labels)] : [];
    return [[line], [...parts, ...bars(byShare(answer.probabilities), new Set(answer.labels))]];
  }
  if (answer.entities !== undefined) {
    const count = answer.entities.length;
    return [[`${count || "No"} ${count === 1 ? "entity" : "entities"}`], [marked(text, answer.entities), words(answer)]];
  }
  if (answer.score !== undefined)
    return [[asNumber(answer.score)], model.range ? [scale(answer.score, model.range)] : []];
  if (answer.similarity !== undefined)
    return [[`Cosine ${asNumber(answer.similarity)}`], [scale(answer.similarity, [-1, 1]), ...answer.embeddings.map(vector)]];
  if (answer.embedding !== undefined) return [["A vector"], [vector(answer.embedding)]];
  if (answer.num_tokens !== undefined) return [[answer.text], [element("p", { class: "note" }, `${answer.num_tokens} tokens, ended by ${answer.finish}`)]];
  if (answer.tokens !== undefined) {
    const pairs = answer.tokens.map((each, i) => [each, answer.probabilities[i]]);
    return [[answer.tokens.join(", ")], bars(pairs, new Set())];
  }
  // The task of somebody else.
  return [["Answered"], [element("pre", { tabindex: "0" }, JSON.stringify(answer, null, 2))]];
}

function showAnswer(answer, ms, text) {
  const [line, parts] = drawnAnswer(answer, text);
  if (answer.set !== undefined) {
    const told = answer.set.length ? "Labels that hold the true one, as often as promised:" : "No label is probable enough to be in the set.";
    parts.unshift(element("p", { class: "note" }, told), chips(answer.set));
  }
  byId("summary").replaceChildren(...line);
  byId("details").replaceChildren(...parts);
  const confidence = answer.confidence === undefined ? "" : `confidence ${asPercent(answer.confidence)}`;
  const abstains = byId("abstains");
  abstains.hidden = !answer.abstain;
  abstains.replaceChildren(element("b", {}, "It abstains: "),
    `${confidence} is too low for what was promised. Let somebody else answer.`);
  const sure = confidence && !answer.abstain ? `${confidence} · ` : "";
  show("origin", `${sure}model ${answer.model} · version ${answer.version} · answered in ${ms.toFixed(ms < 10 ? 1 : 0)} ms`);
  show("answer");
}

async function send() {
  // A second one while the first is under way would be shown as the answer to it.
  if (isAsking) return;
  isAsking = true;
  byId("send").setAttribute("aria-disabled", "true");
  show("refused", "");
  try {
    const request = requestOf();
    const size = request.body.size ?? new TextEncoder().encode(request.body).length;
    if (size > limits.body_bytes)
      throw new Refused(`a body of ${wholeNumber.format(size)} bytes: at most ${wholeNumber.format(limits.body_bytes)} are read`, 413);
    showLines(request);
    const text = byId("text").value;
    const options = { method: "POST", headers: { "Content-Type": request.kind }, body: request.body };
    const { found, ms } = await ask(request.path, options);
    showAnswer(found, ms, text);
  } catch (error) {
    byId("answer").hidden = true;
    tell("refused", error);
  } finally {
    isAsking = false;
    byId("send").removeAttribute("aria-disabled");
  }
}

// 4. What is typed, dropped and pasted.
function take(file) {
  if (!file || model?.reads !== "image") return;
  image = file;
  URL.revokeObjectURL(imageUrl);
  imageUrl = URL.createObjectURL(file);
  const preview = byId("preview");
  preview.hidden = false;
  preview.src = imageUrl;
  show("drop-note", `${file.name || "pasted image"}, ${wholeNumber.format(file.size)} bytes`);
  send();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
for (const id of ["text", "text-b"])
  byId(id).addEventListener("keydown", (event) => {
    // While an input method composes a word, Enter chooses it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
byId("preview").addEventListener("error", () => { byId("preview").hidden = true; });
byId("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  // The same file may be chosen again.
  event.target.value = "";
});
addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
// Beside the box, too: a browser would leave the page for the image.
addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("images").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("images").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("images").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
addEventListener("popstate", () => { if (models.length) choose(); });

begin(async () => {
  ({ models, limits } = (await ask("models.json")).found);
  choose();
  if (model && model.reads !== "image") byId("text").focus();
});
