"""The recipes of the field: what each runs, what it shares with others, and which settings exclude each other."""

from __future__ import annotations

import re

import pytest

from inbol.config.load import ConfigError
from inbol.config.run import round_of
from launch.compose import RECIPES, ROOT, compose_run, names
from launch.plan import Node, plan

REFERENCE_FREE_RECIPES = ("mohobench-simpo", "mohobench-orpo")


def planned(recipe: str, *overrides: str) -> dict[str, Node]:
    return {node.name: node for node in plan(compose_run(recipe, "tiny", overrides))}


def test_a_loss_without_a_reference_leaves_its_stage_out() -> None:
    for recipe in REFERENCE_FREE_RECIPES:
        nodes = planned(recipe)
        assert "reference" not in nodes and set(nodes["dpo"].inputs) == {"vqa", "pairs", "model"}
    assert "reference" in planned("mohobench-dpo")


def test_recipes_that_differ_by_the_loss_share_all_before_it() -> None:
    dpo, simpo, orpo = (planned(f"mohobench-{name}") for name in ("dpo", "simpo", "orpo"))
    for name in ("sft_data", "sft", "pairs", "boundary"):
        assert dpo[name].folder == simpo[name].folder == orpo[name].folder
    assert len({dpo["dpo"].folder, simpo["dpo"].folder, orpo["dpo"].folder}) == 3
    assert dpo["sft"].folder == planned("mohobench-sft")["sft"].folder
    assert planned("mdpo")["sft"].folder == planned("dpo")["sft"].folder == planned("v-dpo")["sft"].folder
    assert planned("mdpo")["pairs"].folder == planned("v-dpo")["pairs"].folder != planned("dpo")["pairs"].folder


def test_own_samples_as_answers_are_an_input() -> None:
    for recipe in ("idk-sft", "honesty-multisample", "idk-hir"):
        nodes = planned(recipe)
        assert nodes["sft_data"].inputs["responses"] is nodes["sample"]
    assert "responses" not in planned("r-tuning")["sft_data"].inputs


def test_rounds_begin_from_the_round_before() -> None:
    nodes = planned("inbol-iterative")
    second = nodes["dpo[round 2]"].inputs
    assert second["model"] is nodes["dpo"] and second["pairs"] is nodes["pairs[round 2]"]
    assert second["reference"].inputs["model"] is nodes["dpo"]
    samples = nodes["pairs[round 2]"].inputs["responses"]
    assert samples.inputs["model"] is nodes["dpo"] and samples.config.splits == ("align-train",) and samples.config.sampling.fresh == 0
    assert nodes["pairs[round 2]"].inputs["boundary"].inputs["confidence"].inputs["responses"] is samples
    assert nodes["predict[dpo-2]"].inputs["model"] is nodes["dpo[round 2]"]
    assert nodes["score[dpo-2]"].inputs["base_predictions"] is nodes["predict[base]"]
    assert {"train:dpo", "train:dpo-2"} <= set(nodes["report"].inputs)
    more = planned("inbol-iterative", "recipe.rows=[base,sft,dpo,dpo-2,dpo-3]")
    assert more["dpo[round 2]"].folder == nodes["dpo[round 2]"].folder
    assert more["report"].config.labels["dpo-3"] == "DPO, round 3"


def test_what_a_round_is_called() -> None:
    assert [round_of(row) for row in ("base", "sft", "dpo", "dpo-2", "dpo-12")] == [0, 0, 1, 2, 12]
    assert [round_of(row) for row in ("dpo-1", "dpo-0", "dpo-02", "dpo-", "dpo-x", "dpo-²")] == [0] * 6


def test_a_level_in_the_prompt_reaches_the_prediction_alone() -> None:
    hir = planned("idk-hir")
    assert hir["predict[sft]"].config.prompt == "level-0.6" and hir["predict[base]"].config.prompt == "plain"
    other = planned("idk-hir", "recipe.prompts.sft=level-0.1")
    assert {name for name in hir if hir[name].folder != other[name].folder} == {"predict[sft]", "score[sft]", "report"}


def test_on_policy_training_goes_on_from_sft() -> None:
    ternary, rlkf = planned("ternary-grpo"), planned("rlkf")
    assert set(ternary["grpo"].inputs) == {"vqa", "unsolvable", "model"} and ternary["grpo"].inputs["model"] is ternary["sft"]
    assert ternary["sft"].folder == rlkf["sft"].folder == planned("idk-it")["sft"].folder
    assert "pairs" not in ternary and rlkf["grpo"].inputs["reward"] is rlkf["reward"]
    assert set(rlkf["reward"].inputs) == {"vqa", "pairs", "model"} and rlkf["reward"].inputs["model"] is rlkf["sft"]
    assert ternary["predict[grpo]"].inputs["model"] is ternary["grpo"] is ternary["report"].inputs["train:grpo"]
    assert ternary["report"].config.labels["grpo"] == "Ternary GRPO"


def test_who_decides_the_table_decides_the_reward() -> None:
    judge = ("judge=openai", "judge.base_url=http://127.0.0.1:9/v1", "judge.model=m")
    plain, second, decides = (planned("ternary-grpo", *more) for more in ((), judge, (*judge, "judge.decides=true")))
    assert plain["grpo"].folder == second["grpo"].folder != decides["grpo"].folder
    assert decides["grpo"].config.judge.model == "m" and second["grpo"].config.judge.kind == "rules"
    assert planned("rlkf", *judge, "judge.decides=true")["grpo"].folder == planned("rlkf")["grpo"].folder


def test_features_are_measured_in_training_and_predicted_in_evaluation() -> None:
    nodes = planned("ualign")
    for name in ("sft_data", "pairs", "grpo"):
        assert nodes[name].inputs["features"] is nodes["features[measured]"]
    for row in ("sft", "grpo"):
        assert nodes[f"predict[{row}]"].inputs["features"] is nodes["features[test]"]
    assert "features" not in nodes["predict[base]"].inputs
    assert nodes["features[test]"].inputs["predictions"].inputs["model"] is nodes["sft[features]"]
    assert nodes["sft[features]"].inputs["sft_data"] is nodes["feature_data"] and nodes["sft[features]"].inputs["model"] is nodes["base"]
    assert nodes["features[measured]"].inputs["confidence"] is nodes["confidence"] and nodes["sft"].folder != nodes["sft[features]"].folder


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("dpo", ("dpo=orpo", "dpo.anchor=1"), r"dpo\.loss: 'orpo' with anchor=1\.0 has the NLL of the chosen side twice; take anchor=0"),
        ("inbol-dpo", ("dpo.loss=mdpo",), r"pairs\.altered: '' with dpo\.loss='mdpo'; take 'blank' or 'occluded'"),
        ("inbol-dpo", ("pairs.altered=blank",), r"pairs\.altered: 'blank' with dpo\.loss='soft'; take '', or dpo\.loss=mdpo or v-dpo"),
        ("inbol-dpo", ("pairs.altered=crop",), r"pairs\.altered: 'crop' is not one of '', 'blank', 'occluded'"),
        ("inbol-dpo", ("pairs=duplicated",), r"dpo\.loss: 'soft' with pairs\.form='duplicated' counts the confidence twice"),
        ("inbol-sft", ("sft_data.method=verb",), r"boundary\.mistaken: 0\.7 with sft_data\.method='verb', .*; take null"),
        ("idk-it", ("sft_data.answer=samples",), r"sft_data\.answer: 'samples' with method='threshold'; .*; take answer=sample"),
        ("plain-sft", ("sft_data.answer=sample",), r"sft_data\.answer: 'sample' with method='plain', .*; take answer=gold"),
        ("plain-sft", ("sft_data.of=beyond-image",), r"sft_data\.of: 'beyond-image' with method='plain' leaves no example"),
        ("mohobench-sft", ("sft_data.dead_band=0.1",), r"sft_data\.dead_band: 0\.1 with method='extrinsic', which has none"),
        ("idk-hir", ("sft_data.levels=12",), r"sft_data\.levels: 12 is not in \[1, 11\]"),
        ("idk-hir", ("recipe.prompts.sft=bold",), r"recipe\.prompts\.sft: 'bold' is not one of 'plain', 'allow-refusal', 'level-0\.0'"),
        ("idk-hir", ("recipe.prompts.base=plain",), r"recipe\.prompts\.base: 'base' is not one of 'sft', 'dpo', 'dpo-2'"),
        ("inbol-iterative", ("recipe.rows=[base,dpo-x]",), r"recipe\.rows: 'dpo-x' is not one of 'base', .*'dpo-2'"),
        ("inbol-iterative", ("confidence.estimator=self-consistency",), r"confidence\.estimator: .* the row 'dpo-2'.*; take 'accuracy'"),
        ("ternary-grpo", ("grpo.questions=5", "grpo.group=3"), r"grpo\.questions: 5 questions of 3 responses .* not divide over 2 ranks"),
        ("ternary-grpo", ("grpo.group=1",), r"grpo\.group: 1 must be at least 2"),
        ("ternary-grpo", ("grpo.values.refused=2",), r"grpo\.values\.refused: 2\.0 is not in \[-1\.0, 1\.0\]"),
        ("ternary-grpo", ("grpo.values.wrong=1",), r"grpo\.values\.wrong: 1\.0 must be less than correct=1\.0"),
        ("rlkf", ("reward.optim.global_batch=3",), r"reward\.optim\.global_batch: 3 trees do not divide over 2 ranks"),
        ("rlkf", ("sampling.stop=label",), r"sampling\.stop: .*the row 'grpo' in recipe\.rows takes"),
        ("ualign", ("sft_data=levels",), r"features: true with sft_data\.method: 'levels', which is asked without them"),
        ("ualign", ("recipe.rows=[base,sft,calibrated]",), r"features: true with recipe\.rows: 'calibrated'"),
        ("idk-sft", ("sampling.stop=label",), r"sampling\.stop: .*sft_data\.answer='sample' takes the samples; take"),
        ("honesty-confidence-verb", ("sampling.stop=label",), r"sampling\.stop: .*sft_data\.method='verb' weighs by them"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(recipe: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run(recipe, "tiny", overrides)
    (found,) = caught.value.errors
    assert re.search(message, found), found


def test_duplicated_pairs_go_with_losses_that_read_no_confidence() -> None:
    assert compose_run("mohobench-simpo", "tiny", ["pairs=duplicated"]).pairs.form == "duplicated"


def test_every_recipe_stands_in_the_documentation_with_its_command() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in names(RECIPES) if f"`make train RECIPE={name}`" not in text] == []
