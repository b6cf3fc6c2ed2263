"""Every shipped configuration composes, and every mistake is named before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from inbol.config.load import ConfigError
from launch.compose import CONF, RECIPES, ROOT, compose_run, groups, names, recipes

ALL_RECIPES, ALL_SCALES = names(RECIPES), names(CONF / "scale")


def mistakes(*overrides: str, recipe: str = "inbol-dpo", scale: str = "tiny") -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        compose_run(recipe, scale, overrides)
    return caught.value.errors


@pytest.mark.parametrize("recipe", ALL_RECIPES)
@pytest.mark.parametrize("scale", ALL_SCALES)
def test_every_recipe_composes_at_every_scale(recipe: str, scale: str) -> None:
    run = compose_run(recipe, scale)
    assert run.recipe.name == recipe and run.scale == scale
    assert set(run.recipe.labels) <= set(run.recipe.rows)


@pytest.mark.heavy
def test_every_choice_of_every_group_composes(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("alpha slots=2\nbeta slots=2\n")
    choices = [f"{group}={choice}" for group, known in groups().items() for choice in known]
    assert len(choices) >= 25
    companions = {"pairs=duplicated": ["dpo=hard"], "pairs=altered": ["dpo=mdpo"], "launcher=ssh": [f"launcher.ssh.hostfile={hostfile}"]}
    companions |= {f"sft_data={name}": ["boundary.mistaken=null"] for name in ("verb", "suffix", "levels")}
    companions["sampling=vllm"] = ["launcher.ranks=1"]
    for choice in choices:
        assert compose_run("inbol-dpo", "tiny", [choice, *companions.get(choice, [])]).recipe.name == "inbol-dpo"


def test_no_configuration_file_is_left_out() -> None:
    """Every YAML file is the root, a choice of a group, a scale, a table, a sweep, published values or a recipe."""
    found = {path.relative_to(ROOT) for folder in (CONF, RECIPES) for path in folder.rglob("*.yaml")}
    known = {Path("conf") / group / f"{choice}.yaml" for group, choices in groups().items() for choice in choices}
    known |= {Path("conf") / group / f"{name}.yaml" for group in ("scale", "table", "sweep", "published") for name in names(CONF / group)}
    known |= {Path("recipes") / f"{name}.yaml" for name in ALL_RECIPES} | {Path("conf/config.yaml")}
    assert found == known and len(found) > 30


def test_every_value_has_a_sentence_above_it() -> None:
    """A key with a value stands below a comment; keys that open a block need none."""
    bare, seen = [], 0
    for path in sorted([*CONF.rglob("*.yaml"), *RECIPES.glob("*.yaml")]):
        lines = path.read_text().splitlines()
        inside = 0  # indentation of the last key, to skip what belongs to a list
        for above, line in zip(["", *lines], lines, strict=False):
            if not (match := re.match(r"^( *)([\w-]+):(.*)$", line)):
                continue
            inside, key, value = len(match[1]), match[2], match[3].strip()
            if key == "defaults" or (not value and key not in ("levels", "entries")):
                continue
            seen += 1
            if not above.strip().startswith("#"):
                bare.append(f"{path.relative_to(ROOT)}: {' ' * inside}{key}")
    assert seen > 100
    assert bare == []


def test_recipe_headers_name_the_command() -> None:
    assert len(ALL_RECIPES) >= 6
    for name in ALL_RECIPES:
        assert f"# make train RECIPE={name}\n" in (RECIPES / f"{name}.yaml").read_text()
    assert all(purpose and "\n" not in purpose for purpose in recipes().values())


def test_the_recipe_wins_over_the_scale_and_overrides_win_over_both() -> None:
    assert compose_run("plain-sft", "tiny").sft_data.method == "plain"
    assert compose_run("idk-it", "llava-1.5-7b").sft_data.method == "threshold"
    assert compose_run("inbol-dpo", "smoke").tracker.kind == "none"
    run = compose_run(
        "inbol-dpo", "smoke", ["sft_data=threshold", "dpo.beta=0.2", "peft=lora", "tracker=tensorboard", "dpo.margin_alpha=3"]
    )
    assert run.sft_data.method == "threshold" and run.dpo.beta == 0.2 and run.dpo.margin_alpha == 3.0
    assert run.peft.kind == "lora" and run.tracker.kind == "tensorboard"
    assert compose_run("inbol-dpo", "tiny", ["dpo=dup"]).pairs.form == "duplicated"
    debug = compose_run("inbol-dpo", "tiny", ["debug=one-rank"])
    assert debug.launcher.ranks == 1 and debug.tracker.kind == "none"
    assert compose_run("inbol-dpo", "tiny", ["source.levels=[{occlusion: 0, noise: 0}]"]) != compose_run("inbol-dpo", "tiny")


def test_integers_and_floats_of_one_value_are_one_configuration() -> None:
    assert compose_run("inbol-dpo", "tiny", ["dpo.beta=1"]) == compose_run("inbol-dpo", "tiny", ["dpo.beta=1.0"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dpo.beta=-1", r"^dpo\.beta: -1\.0 must be greater than 0$"),
        ("base.say_items=-1", r"^base\.say_items: -1 must be at least 0"),
        ("base.undegraded_share=0.1", r"^base\.affirmative_share: 0\.3 is more than undegraded_share=0\.1, its whole$"),
        (
            "base.tower_epochs=0",
            r"^base\.tower_lr_factor: 0 freezes a tower that no warm-up has trained; set tower_epochs or a factor above 0$",
        ),
        ("dpo.beta=abc", r"^dpo\.beta: 'abc' is str, expected a finite float$"),
        ("dpo.betta=0.2", r"^dpo\.betta: unknown key \(value 0\.2\); did you mean 'beta'\? allowed: optim, loss, beta, "),
        ("sft.optim.epochs=banana", r"^sft\.optim\.epochs: 'banana' is str"),
        ("dpo=sofd", r"^dpo: there is no 'sofd'; did you mean 'soft'\? there are dup, hard, "),
        ("dpo.loss=sofd", r"^dpo\.loss: 'sofd' is not one of 'hard', 'soft'"),
        ("launcher.ranks=3", r"^base\.optim\.global_batch: 16 trees do not divide over launcher\.ranks=3"),
        ("seed=1,2", r"several values, but a run takes one; for a list write seed=\[\.\.\.\]$"),
        ("dpo.beta", r"^override 'dpo\.beta': not of the form key=value"),
        ("~dpo.beta", r"cannot be deleted"),
        ("scale=tiny", r"choose it with SCALE="),
        ("nonsense=1", r"^nonsense: unknown key \(value 1\); allowed: recipe, scale, "),
        ("eval_split=train", r"^eval_split: 'train' is not one of 'test', 'align-val'$"),
        ("source.levels=[{occlusion: 2, noise: 0}]", r"^source\.levels\[0\]\.occlusion: 2\.0 is not in \[0, 1\]$"),
    ],
)
def test_a_wrong_override_is_named(override: str, expected: str) -> None:
    (message,) = mistakes(override)
    assert re.search(expected, message), message


def test_all_mistakes_come_in_one_message() -> None:
    errors = mistakes("dpo.betta=1", "peft=laura", "sft.optim.lr=x", "score.bootstrap=1", "junk")
    assert len(errors) == 5
    assert all(any(word in error for error in errors) for word in ("dpo.betta", "peft", "sft.optim.lr", "score.bootstrap", "'junk'"))


def test_unknown_names_list_those_that_exist() -> None:
    errors = mistakes(recipe="inbol-dpoo", scale="huge")
    assert errors[0].startswith("recipe: there is no 'inbol-dpoo'; did you mean 'inbol-dpo'?")
    assert all(name in errors[0] for name in ALL_RECIPES)
    assert all(name in errors[1] for name in ALL_SCALES)


def test_tables_name_recipes_that_exist() -> None:
    tables = names(CONF / "table")
    assert tables
    for name in tables:
        raw = yaml.safe_load((CONF / "table" / f"{name}.yaml").read_text())
        assert raw["scale"] in ALL_SCALES and {entry["recipe"] for entry in raw.get("entries", [raw])} <= set(ALL_RECIPES)


@pytest.mark.parametrize(
    ("recipe", "overrides", "settings"),
    [
        ("inbol-sft", (), "sft_data.method='soft' weighs by them"),
        ("idk-it", ("sft_data.dead_band=0.1",), "sft_data.dead_band=0.1 compares them with tau"),
        ("idk-it", ("eval_split=align-val",), "eval_split='align-val' scores by them"),
        ("dpo", (), "the row 'dpo' in recipe.rows takes the most frequent wrong answer of all K samples, and their confidence"),
    ],
)
def test_stopping_is_refused_where_a_confidence_is_needed(recipe: str, overrides: tuple[str, ...], settings: str) -> None:
    (message,) = mistakes("sampling.stop=label", *overrides, recipe=recipe)
    assert message == f"sampling.stop: 'label' leaves confidences open, but {settings}; take sampling.stop=never"


def test_stopping_is_allowed_where_the_label_is_all_that_is_used() -> None:
    for recipe in ("idk-it", "plain-sft", "refusal-prompt"):
        assert compose_run(recipe, "tiny", ["sampling.stop=label"]).sampling.stop == "label"
    (message,) = mistakes("sampling.stop=maybe", recipe="idk-it")
    assert message == "sampling.stop: 'maybe' is not one of 'never', 'label'"
    (message,) = mistakes("sampling.stop=label", "sampling.fresh=2", recipe="idk-it")
    assert message.startswith("sampling.stop: 'label' with fresh=2")


def test_a_credential_in_the_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"source\.path: holds a login, a signature or a secret"):
        compose_run("inbol-sft", "smoke", ["source=shards", "source.path='s3://me:secret@bucket/a.tar'"])
