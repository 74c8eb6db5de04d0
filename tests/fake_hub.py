"""The requests of an upload to the Hugging Face hub, answered on loopback."""

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass, field

from loopback import serving


@dataclass
class Hub:
    """What was sent: repositories with their settings, and the files of each by path."""

    created: dict[str, dict] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    refusal: tuple[int, str] | None = None


@contextmanager
def fake_hub(monkeypatch):
    """A hub at which ``anna`` is logged in, for as long as the block runs."""
    hub = Hub()
    with serving(lambda handler, body: _answer(hub, handler, body)) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_anna")
        yield hub


def _answer(hub, handler, body):
    if hub.refusal:
        status, message = hub.refusal
        return status, {"X-Error-Message": message}, json.dumps({"error": message}).encode()
    if handler.path == "/api/repos/create":
        repo = f"{body.get('organization') or 'anna'}/{body['name']}"
        hub.created[repo] = body
        hub.tokens.add(handler.headers["Authorization"])
        return {"url": f"https://huggingface.co/{repo}"}
    if handler.path == "/api/validate-yaml":
        return {"errors": [], "warnings": []}
    if not handler.path.startswith("/api/models/"):
        return 404, {}, b"{}"
    _, _, _, owner, name, action, _ = handler.path.split("/")
    if action == "preupload":
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in body["files"]
        ]
        return {"files": files}
    assert action == "commit"
    repo = f"{owner}/{name}"
    sent = [line["value"] for line in body if line["key"] == "file"]
    hub.files.setdefault(repo, {}).update({file["path"]: base64.b64decode(file["content"]) for file in sent})
    return {"commitUrl": f"https://huggingface.co/{repo}/commit/1", "commitOid": "1"}
