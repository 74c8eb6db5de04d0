"""What an ATS recipe accepts, and what it makes of it."""

import pytest
from pydantic import ValidationError

from lmtools.ats import cache
from lmtools.ats.recipe import LOSSES, AtsRecipe, LossName, LossSettings
from lmtools.core.errors import RecipeError
from lmtools.core.recipe import load_recipe


def test_what_is_repeated_here_without_torch_is_what_the_rest_has():
    assert set(LossName.__args__) == set(LOSSES)
    top_k = LossSettings.model_fields["top_k"].annotation
    assert top_k.__args__ == cache.TOP


def test_a_scalar_looks_at_no_features():
    recipe = AtsRecipe.model_validate({"head": {"features": ["max-logit"]}})
    assert {head.kind: head.features for head in recipe.heads}["scalar"] == ("hidden",)
    assert {head.kind: head.features for head in recipe.heads}["mlp"] == ("max-logit",)


def test_without_anything_it_is_the_paper_with_every_comparison():
    recipe = AtsRecipe()
    assert recipe.loss.name == "selective_smoothing"
    assert [head.kind for head in recipe.heads] == ["transformer", "mlp", "linear", "scalar"]
    assert not recipe.exact


def test_heads_are_compared_on_the_same_features_and_none_is_fitted_twice():
    recipe = AtsRecipe(
        head={"kind": "mlp", "features": ["hidden", "max-logit"], "clip": [0.1, 5]}, compare=["mlp", "linear"]
    )
    main, other = recipe.heads
    assert (main.kind, other.kind) == ("mlp", "linear")
    assert (other.features, other.clip) == (main.features, main.clip)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": {"clip": [0.01, 10]}}, "head.clip"),
        ({"head": {"clip": [0.05, 20]}}, "head.clip"),
        ({"compare": ["mlp", "Platt", "mlp"]}, "mlp twice"),
        ({"compare": ["matrix scaling"]}, "compare"),
        ({"loss": {"alpha": 1.5}}, "alpha"),
        ({"loss": {"top_k": 5}}, "top_k"),
        ({"data": {"layouts": []}}, "layouts"),
        ({"data": {"validation": 1.0}}, "validation"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        AtsRecipe(**settings)


def test_smoothing_over_the_vocabulary_takes_no_k():
    assert LossSettings(top_k=4).over is None
    assert LossSettings(smoothing="top_k", top_k=4).over == 4


def test_a_near_miss_is_suggested():
    with pytest.raises(RecipeError, match="alpha"):
        load_recipe(AtsRecipe, None, ["loss.alhpa=0.3"], default="ats/quickstart")
