"""Prompts, character by character, and their tokens."""

import pytest
from tiny import save_tiny_llama

from lmtools.calibration.prompt import Prompt, Rendering, lettered, open_rendering
from lmtools.core.errors import ModelError
from lmtools.models.chat import Message
from lmtools.models.spec import ModelSpec

PROMPT = Prompt("About towns.", (("Q: France?\nA:", "Paris"), ("Q: Peru?\nA:", "Lima")), "Q: Japan?\nA:")


def test_plain_text_has_an_empty_line_between_parts_and_no_space_at_its_end():
    expected = "About towns.\n\nQ: France?\nA: Paris\n\nQ: Peru?\nA: Lima\n\nQ: Japan?\nA:"
    assert PROMPT.text() == expected
    assert Rendering().text(PROMPT) == expected
    assert Rendering(bos="<s>").text(PROMPT) == "<s>" + expected
    assert Rendering().continuation("Paris") == " Paris"


def test_without_header_and_demonstrations_it_is_the_question():
    assert Prompt("", (), "Q: Japan?\nA:").text() == "Q: Japan?\nA:"
    assert Prompt("", (), "Japan?").messages() == [Message("user", "Japan?")]


def test_as_turns():
    assert PROMPT.messages() == [
        Message("user", "About towns.\n\nQ: France?\nA:"),
        Message("assistant", "Paris"),
        Message("user", "Q: Peru?\nA:"),
        Message("assistant", "Lima"),
        Message("user", "Q: Japan?\nA:"),
    ]


def test_letters():
    assert lettered(["x", "y", "z"]) == "A. x\nB. y\nC. z"


def test_through_the_chat_template(tiny_llama):
    rendering = open_rendering(ModelSpec(name=str(tiny_llama)), chat=True)
    text = rendering.text(PROMPT)
    assert text.startswith(
        "<|im_start|>user\nAbout towns.\n\nQ: France?\nA:<|im_end|>\n<|im_start|>assistant\nParis"
    )
    assert text.endswith("<|im_start|>user\nQ: Japan?\nA:<|im_end|>\n<|im_start|>assistant\n")
    assert rendering.continuation("A") == "A"
    assert rendering.count_tokens([text]) == [
        len(rendering.tokenizer(text, add_special_tokens=False)["input_ids"])
    ]


def test_plain_by_default(tiny_llama):
    rendering = open_rendering(ModelSpec(name=str(tiny_llama)), chat=False)
    assert rendering.text(PROMPT) == PROMPT.text()
    assert rendering.continuation("A") == " A"


def test_a_tokenizer_that_opens_with_a_token_of_its_own_gets_it(tmp_path):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    save_tiny_llama(tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", words.bos_token_id)]
    )
    words.save_pretrained(tmp_path)
    rendering = open_rendering(ModelSpec(name=str(tmp_path)), chat=False)
    text = rendering.text(PROMPT)
    assert text == f"<|im_start|>{PROMPT.text()}"
    ids = rendering.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == rendering.tokenizer(PROMPT.text())["input_ids"]


def test_chat_without_a_template_is_an_error(tmp_path):
    from transformers import AutoTokenizer

    save_tiny_llama(tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)
    words.chat_template = None
    words.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no chat template") as caught:
        open_rendering(ModelSpec(name=str(tmp_path)), chat=True)
    assert "chat=false" in caught.value.fix


def test_a_server_may_serve_a_model_that_is_not_known_here(capsys):
    spec = ModelSpec(name="./nowhere", backend="server")
    assert open_rendering(spec, chat=False).text(PROMPT) == PROMPT.text()
    assert "no tokenizer of ./nowhere" in capsys.readouterr().err
    with pytest.raises(ModelError):
        open_rendering(spec, chat=True)
    with pytest.raises(ModelError):
        open_rendering(ModelSpec(name="./nowhere"), chat=False)
