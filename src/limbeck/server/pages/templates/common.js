"use strict";
// What all pages have: nothing here makes HTML of a text, and the token is in no storage.
const root = new URL(document.body.dataset.root, location.href);
const needsToken = document.body.dataset.token === "needed";
// Whole from now on: a page may take the address of another without being loaded.
for (const link of document.querySelectorAll("nav a")) link.href = link.href;
let token = "";
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const wholeNumber = new Intl.NumberFormat("en");

function put(made, attributes, content) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  // `append` takes a text as a text, whatever it holds.
  made.append(...content);
  return made;
}
const element = (name, attributes = {}, ...content) =>
  put(document.createElement(name), attributes, content);
const drawn = (name, attributes = {}, ...content) =>
  put(document.createElementNS(SVG, name), attributes, content);

function show(id, text = null) {
  const found = byId(id);
  if (text !== null) found.textContent = text;
  found.hidden = text === "";
  return found;
}

class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

// What an address answers, and after how many milliseconds. Throws Refused with the server's sentence.
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const began = performance.now();
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, root), { ...options, headers, cache: "no-store", credentials: "omit" });
    text = await answer.text();
  } catch {
    throw new Refused("The server was not reached, or it closed the connection. Try again.", 0);
  }
  const ms = performance.now() - began;
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Refused(`Something between here and the server answered with status ${answer.status}.`, answer.status);
  }
  if (!answer.ok) throw new Refused(found.error ?? `status ${answer.status}`, answer.status);
  return { found, ms };
}

function tell(id, error) {
  if (!(error instanceof Refused)) throw error;
  const status = error.status ? ` (status ${error.status})` : "";
  show(id, `${error.message}${status}`);
  // It may have been revoked: another one is asked for.
  if (error.status === 401) byId("token-form")?.removeAttribute("hidden");
}

// Begin at once, or when the token was given.
function begin(start) {
  const form = byId("token-form");
  const started = async () => {
    try {
      show("problem", "");
      await start();
      if (form) form.hidden = true;
    } catch (error) {
      tell("problem", error);
      if (form) form.hidden = false;
    }
  };
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    // A header holds no other characters.
    if (/^[!-~]+$/.test(token)) started();
    else show("problem", "A token has letters, digits and signs of ASCII, and no space.");
  });
  if (needsToken) byId("token").focus();
  else started();
}
