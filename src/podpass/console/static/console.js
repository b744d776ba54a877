// Keeps lists short, copies commands, and shows whether the page is connected. htmx does the rest.
"use strict";

function trimLists() {
  for (const list of document.querySelectorAll("[data-max]")) {
    // An open line stays until the reader closes it, in at most twice the number of lines.
    const maximum = Number(list.dataset.max);
    for (let at = list.children.length - 1; at >= maximum; at -= 1) {
      const line = list.children[at];
      if (at >= 2 * maximum || !line.querySelector("details[open]")) {
        line.remove();
      }
    }
    const empty = document.getElementById("empty");
    if (empty) {
      empty.hidden = list.children.length > 0;
    }
  }
}

function showState(name) {
  const live = document.getElementById("live");
  if (live && live.textContent !== live.dataset[name]) {
    live.textContent = live.dataset[name];
    live.className = name;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) {
    return;
  }
  const command = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = button.dataset.done;
  } catch {
    // Without access to the clipboard, select the command, so that the reader can copy it.
    getSelection().selectAllChildren(command);
  }
});

let ended = false;

function end() {
  ended = true;
  showState("ended");
}

// The server sends an event every 14 seconds; without one, its process may be stopped.
const silenceMilliseconds = 45000;
let heard = 0;

function hear() {
  heard = Date.now();
  if (!ended) {
    showState("on");
  }
}

setInterval(() => {
  if (heard && !ended && Date.now() - heard > silenceMilliseconds) {
    showState("off");
  }
}, 5000);

document.addEventListener("htmx:sse:after:connection", hear);
document.addEventListener("alive", hear);
document.addEventListener("changed", hear);
document.addEventListener("htmx:sse:after:message", () => {
  hear();
  trimLists();
});
document.addEventListener("ended", end);
document.addEventListener("htmx:sse:before:connection", (event) => {
  const connection = event.detail.connection;
  // Without a session, another request would only be refused again.
  connection.cancelled = ended;
  if (connection.attempt > 0 && !ended) {
    showState("off");
  }
});
document.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401) {
    end();
  } else if (!ended) {
    showState("off");
  }
});
