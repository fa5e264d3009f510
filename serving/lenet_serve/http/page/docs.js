"use strict";
// Examples name this server as the reader reaches it.
for (const span of document.querySelectorAll(".base")) span.textContent = new URL(".", location);
for (const span of document.querySelectorAll(".host")) span.textContent = location.host;
