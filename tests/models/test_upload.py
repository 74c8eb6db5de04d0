"""Uploads to a hub on loopback, and what is refused before anything is sent."""

import pytest
from fake_hub import fake_hub

from lmtools.core.errors import LmtoolsError, MachineError
from lmtools.models.publish import check_target, upload


@pytest.fixture
def hub(monkeypatch):
    with fake_hub(monkeypatch) as repositories:
        yield repositories


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "policy" / "more").mkdir(parents=True)
    (tmp_path / "policy" / "README.md").write_text("---\nlicense: other\n---\n")
    (tmp_path / "policy" / "more" / "weights.safetensors").write_bytes(bytes(range(256)))
    return tmp_path / "policy"


def test_a_folder_and_a_text_in_a_private_repository(hub, folder):
    address = upload({"": folder, "recipe.yaml": "a: 1\n", "again": folder / "more"}, "mine")
    assert address.endswith("/anna/mine")
    assert hub.created["anna/mine"]["visibility"] == "private"
    assert hub.tokens == {"Bearer hf_of_anna"}
    assert hub.files["anna/mine"] == {
        "README.md": b"---\nlicense: other\n---\n",
        "more/weights.safetensors": bytes(range(256)),
        "again/weights.safetensors": bytes(range(256)),
        "recipe.yaml": b"a: 1\n",
    }


def test_public_when_asked_for_and_under_another_owner(hub, folder):
    assert upload({"": folder}, "team/mine", public=True).endswith("/team/mine")
    assert hub.created["team/mine"]["visibility"] == "public"
    assert set(hub.files) == {"team/mine"}


@pytest.mark.parametrize(
    ("status", "kind", "message", "fix"),
    [
        (401, LmtoolsError, "refuses the token for mine", "hf auth login"),
        (403, LmtoolsError, "refuses mine: no rights", "choose a name under your own account"),
        (400, LmtoolsError, "refuses mine: no rights", "choose a name"),
        (418, MachineError, "failed on mine: no rights", "try later"),
    ],
)
def test_what_the_hub_refuses(hub, folder, status, kind, message, fix):
    hub.refusal = status, "no rights"
    with pytest.raises(kind, match=message) as caught:
        upload({"": folder}, "mine", again="do it again")
    assert fix in caught.value.fix
    assert "everything is on disk: do it again" in caught.value.fix
    assert (type(caught.value) is LmtoolsError) == (kind is LmtoolsError)


def test_a_hub_that_cannot_be_reached(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MachineError, match="cannot send mine to the hub"):
        upload({"": folder}, "mine")


def test_what_is_checked_without_a_network(hub, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    check_target("anna/mine")
    for name in ("a/b/c", "two words", "../mine", ""):
        with pytest.raises(LmtoolsError, match="no name of a repository") as caught:
            check_target(name)
        assert caught.value.exit_code == 2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LmtoolsError, match="HF_HUB_OFFLINE"):
        check_target("mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(LmtoolsError, match="no token") as caught:
        check_target("mine")
    assert "hf auth login" in caught.value.fix
