"""`/login`: a token for a session. The token goes from the browser to the API and nowhere else."""

from __future__ import annotations

from fastapi import Request
from nicegui import ui

from mimlab.serve.pages.parts.frame import frame, heading
from mimlab.serve.pages.parts.site import LIMIT_S, Site
from mimlab.serve.security.headers import PREFIX

_FORM = """
<form id="login">
  <label for="token">Your token</label>
  <input id="token" type="password" autocomplete="current-password" required autofocus
         aria-describedby="refused">
  <p id="refused" class="problem" role="alert"></p>
  <button type="submit">Log in</button>
</form>"""
_SCRIPT = """
document.addEventListener('submit', async (event) => {
  if (event.target.id !== 'login') return;
  event.preventDefault();
  const refused = document.getElementById('refused');
  refused.textContent = '';
  const body = JSON.stringify({token: document.getElementById('token').value.trim()});
  const headers = {'Content-Type': 'application/json'};
  try {
    const answer = await fetch('PREFIX/session', {method: 'POST', headers, body});
    if (answer.ok) { location = '/'; return; }
    refused.textContent = (await answer.json()).error.message;
  } catch { refused.textContent = 'The dashboard does not answer; try again.'; }
});""".replace("PREFIX", PREFIX)


def add(site: Site) -> None:
    """Serve it."""
    del site

    @ui.page("/login", response_timeout=LIMIT_S)
    def login(request: Request) -> None:
        ui.add_body_html(f"<script>{_SCRIPT}</script>")
        with frame(request, "Log in", None), ui.element("div").classes("login"):
            heading("Log in", "The token is what `mimlab user add NAME` printed.")
            ui.html(_FORM, sanitize=False)
