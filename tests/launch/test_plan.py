"""The plan holds what the rows need, in order, and a value changes exactly what depends on it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inbol.config.load import ConfigError
from inbol.stages.registry import STAGES
from launch.compose import ROOT, compose_run, names
from launch.outside import shards_identity
from launch.plan import ALIGN, FRESH, Node, plan
from launch.table import load_table, plan_table


def planned(recipe: str, *overrides: str, scale: str = "tiny") -> dict[str, Node]:
    nodes = plan(compose_run(recipe, scale, overrides))
    by_name = {node.name: node for node in nodes}
    assert len(by_name) == len(nodes)
    return by_name


def changed(recipe: str, *overrides: str) -> set[str]:
    """Names of the nodes that `overrides` give another folder."""
    before, after = planned(recipe), planned(recipe, *overrides)
    assert before.keys() == after.keys()
    return {name for name in before if before[name].folder != after[name].folder}


def test_the_whole_method() -> None:
    nodes = planned("inbol-dpo")
    assert set(nodes) == {
        "ingest", "unsolvable", "base", "sample", "sample[test]", "confidence", "confidence[test]", "boundary", "sft_data", "sft",
        "pairs", "reference", "dpo", "predict[base]", "predict[base,align-val]", "predict[sft]", "predict[dpo]",
        "score[base]", "score[threshold]", "score[sft]", "score[dpo]", "report",
    }  # fmt: skip
    assert list(nodes)[-1] == "report"
    assert nodes["report"].config.labels == {"base": "base", "threshold": "base + threshold", "sft": "CA-SFT", "dpo": "CA-DPO"}
    assert set(nodes["report"].inputs) == {"base", "threshold", "sft", "dpo", "train:sft", "train:dpo", "vqa"}
    assert set(nodes["dpo"].inputs) == {"vqa", "pairs", "reference", "model"} and nodes["dpo"].inputs["model"] is nodes["sft"]
    assert nodes["sample"].config.splits == ALIGN and nodes["sample"].config.sampling.fresh == 0
    assert nodes["sample[test]"].config.splits == ("test",) and nodes["sample[test]"].config.sampling.fresh == FRESH
    assert nodes["score[dpo]"].inputs["confidence"] is nodes["confidence[test]"]
    assert nodes["score[threshold]"].inputs["predictions"] is nodes["predict[base]"]
    assert nodes["score[threshold]"].inputs["val_predictions"] is nodes["predict[base,align-val]"]


@pytest.mark.parametrize("recipe", names(ROOT / "recipes"))
def test_inputs_come_first_and_every_fingerprint_is_a_folder(recipe: str) -> None:
    seen: set[Path] = set()
    for node in planned(recipe).values():
        assert all(parent.folder in seen for parent in node.inputs.values())
        assert isinstance(node.config, STAGES[node.stage].config)
        assert node.folder == Path("runs") / node.stage / node.fingerprint
        seen.add(node.folder)
    assert len(seen) >= 8


def test_another_beta_changes_dpo_and_what_follows() -> None:
    assert changed("inbol-dpo", "dpo.beta=0.2") == {"dpo", "predict[dpo]", "score[dpo]", "report"}


def test_what_never_changes_a_number_changes_no_folder() -> None:
    quiet = ("launcher.ranks=1", "launcher.threads=2", "tracker=none")
    assert changed("inbol-dpo", *quiet) == set()


def test_other_values_change_what_depends_on_them() -> None:
    assert changed("inbol-dpo", "score.bootstrap=100") == {"score[base]", "score[threshold]", "score[sft]", "score[dpo]", "report"}
    seed = changed("inbol-dpo", "seed=1")
    assert {"ingest", "unsolvable"}.isdisjoint(seed) and {"base", "sample", "sft", "dpo", "report"} <= seed
    assert len(changed("inbol-dpo", "source.seed=1")) == 22


def test_recipes_share_what_they_have_in_common() -> None:
    whole, plain, hard, threshold = planned("inbol-dpo"), planned("plain-sft"), planned("dpo"), planned("idk-it")
    assert plain["boundary"].folder == hard["boundary"].folder == threshold["boundary"].folder != whole["boundary"].folder
    for name in ("ingest", "unsolvable", "base", "sample", "confidence", "predict[base]", "score[base]", "confidence[test]"):
        assert whole[name].folder == plain[name].folder == hard[name].folder == threshold[name].folder
    assert len({whole["sft"].folder, plain["sft"].folder, hard["sft"].folder}) == 3
    assert hard["sft"].folder == threshold["sft"].folder
    assert whole["pairs"].folder != hard["pairs"].folder  # the whole method corrects what the model is sure and wrong about
    assert "dpo" not in plain and "sample" not in planned("refusal-prompt")


def test_a_prompt_that_allows_refusing_is_another_prediction_of_the_base() -> None:
    nodes = planned("refusal-prompt")
    assert nodes["predict[refusal-prompt]"].config.prompt == "allow-refusal"
    assert nodes["predict[refusal-prompt]"].inputs["model"] is nodes["base"]
    assert nodes["score[refusal-prompt]"].inputs["base_predictions"] is nodes["predict[base]"]


def test_validation_touches_no_test_split() -> None:
    nodes = planned("inbol-dpo", "eval_split=align-val")
    assert "sample[test]" not in nodes and nodes["score[dpo]"].inputs["confidence"] is nodes["confidence"]
    splits = {node.config.split for node in nodes.values() if node.stage in ("predict", "score")}
    assert splits == {"align-val"}
    assert nodes["sft"].folder == planned("inbol-dpo")["sft"].folder


def test_a_local_source_is_known_by_its_content(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    folders = []
    for text in ("one", "two", "one"):
        questions.write_text(text)
        folders.append(planned("inbol-dpo", "source=local", f"source.path={tmp_path}")["ingest"].folder)
    assert folders[0] == folders[2] != folders[1]


def test_an_image_of_a_local_source_that_changed_is_read_again(tmp_path: Path) -> None:
    """Another size, another time or another name is another source; a file that is no image is none of it."""
    (tmp_path / "questions.jsonl").write_text("one")
    (tmp_path / "photos").mkdir()
    image = tmp_path / "photos" / "a.PNG"

    def folder() -> Path:
        return planned("inbol-dpo", "source=local", f"source.path={tmp_path}")["ingest"].folder

    folders = [folder()]
    image.write_bytes(b"1")
    os.utime(image, (1, 1))
    folders.append(folder())
    os.utime(image, (2, 2))
    folders.append(folder())
    image.write_bytes(b"22")
    os.utime(image, (2, 2))
    folders.append(folder())
    image = image.rename(tmp_path / "photos" / "b.PNG")
    folders.append(folder())
    assert len(set(folders)) == 5
    (tmp_path / "notes.txt").write_text("no image")
    assert folder() == folders[-1]


def test_a_table_shares_stages_over_recipes_and_keeps_seeds_apart() -> None:
    table = plan_table(load_table("inbol-tiny"), [])
    assert len({node.folder for node, _ in table.nodes}) == len(table.nodes)
    count = {stage: sum(node.stage == stage for node, _ in table.nodes) for stage in ("ingest", "base", "sft", "dpo", "report")}
    assert count == {"ingest": 1, "base": 3, "sft": 9, "dpo": 6, "report": 0}
    assert [row.row for row in table.rows] == ["base", "threshold", "refusal-prompt", "sft", "sft", "sft", "dpo", "dpo"]
    assert all(len({score.folder for score in row.scores}) == 3 for row in table.rows)
    assert [len(row.trained) for row in table.rows] == [0, 0, 0, 3, 3, 3, 3, 3]


def test_planning_imports_no_torch() -> None:
    """The command `plan` does, behind the list of stages; everything that starts a run plans without it."""
    code = "import sys; from launch.main import main; assert main(['train', '--recipe', 'inbol-dpo', '--dry']) == 0; "
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'deepspeed', 'wandb')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_nodes_are_frozen() -> None:
    node = planned("plain-sft")["ingest"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.name = "other"  # type: ignore[misc]


def test_stopping_samples_anew_with_the_threshold_and_never_the_evaluated_split() -> None:
    """With `stop=label` another tau samples anew; without it, it does not."""
    stopped = planned("idk-it", "sampling.stop=label")
    assert stopped["sample"].folder != planned("idk-it")["sample"].folder
    for name in ("sample[test]", "confidence[test]", "predict[base]"):
        assert stopped[name].folder == planned("idk-it")[name].folder
    assert stopped["sample"].config.boundary == compose_run("idk-it", "tiny").boundary
    assert stopped["sample"].folder != planned("idk-it", "sampling.stop=label", "boundary.tau=0.6")["sample"].folder
    assert planned("idk-it")["sample"].folder == planned("idk-it", "boundary.tau=0.6")["sample"].folder


def test_exchanged_shards_are_other_data(tmp_path: Path) -> None:
    """A shard on this machine counts by size and time, one far away by its address."""
    shard = tmp_path / "a.tar"
    shard.write_bytes(b"1")
    before = shards_identity({"": str(tmp_path)})
    assert shards_identity({"": str(tmp_path)}) == before
    shard.write_bytes(b"22")
    assert shards_identity({"": str(tmp_path)}) != before
    assert shards_identity({"": "s3://b/{0..1}.tar"}) != shards_identity({"": "s3://b/{0..2}.tar"})
    assert shards_identity({"": str(tmp_path / "absent")}) != before


def test_the_default_confidence_changes_no_folder() -> None:
    """`confidence=accuracy` is the plan without the group, and so is a value that only other estimators use."""
    assert changed("inbol-dpo", "confidence=accuracy", "confidence.ridge=3", "confidence.explanations=7") == set()


def test_another_estimator_decides() -> None:
    """The boundary and what follows it are others; scores of the base and the samples are not. Only what must be asked is asked."""
    before = planned("inbol-dpo")
    for name, asks in (("p-ik", ("state",)), ("p-true", ("answer", "is-true")), ("self-consistency", ())):
        after = planned("inbol-dpo", f"confidence={name}")
        assert set(after) - set(before) == {"estimate", *(["probe"] if asks else [])} and set(before) <= set(after)
        other = {stage for stage in before if before[stage].folder != after[stage].folder}
        assert {"boundary", "sft_data", "sft", "pairs", "dpo"} <= other
        assert {"sample", "sample[test]", "confidence", "confidence[test]", "score[base]"}.isdisjoint(other)
        assert after["boundary"].inputs["estimates"] is after["estimate"]
        assert after["estimate"].config.folds == (5 if name == "p-ik" else 0)
        if asks:
            assert after["probe"].config.asks == asks and after["probe"].config.splits == ALIGN
    p_true = planned("inbol-dpo", "confidence=p-true")
    assert p_true["probe"].folder == planned("inbol-dpo", "confidence=p-true", "confidence.trees_per_batch=2")["probe"].folder


def test_an_entailment_model_is_part_of_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    chosen = ("confidence=semantic-entropy", f"confidence.entailment={tmp_path}")
    first = planned("inbol-dpo", *chosen)["probe"]
    assert first.config.entailment == str(tmp_path) and first.config.asks == ()
    (tmp_path / "config.json").write_text("{ }")
    assert planned("inbol-dpo", *chosen)["probe"].folder != first.folder
    assert planned("inbol-dpo", "confidence=p-ik", f"confidence.entailment={tmp_path}")["probe"].config.entailment == ""
    with pytest.raises(ConfigError, match=r"confidence.entailment: '/no/such' is no folder"):
        compose_run("inbol-dpo", "tiny", ["confidence.entailment=/no/such"])
    with pytest.raises(ConfigError, match=r"confidence.estimator: 'luck' is not one of 'accuracy'"):
        compose_run("inbol-dpo", "tiny", ["confidence.estimator=luck"])


def test_stopping_early_leaves_nothing_to_estimate_from() -> None:
    with pytest.raises(ConfigError, match=r"confidence\.estimator='p-true' estimates from all of them"):
        compose_run("idk-it", "tiny", ["sampling.stop=label", "confidence=p-true"])


def test_a_calibrated_row_adds_its_own_stages_alone() -> None:
    """It calibrates the last system on align-val, and changes no other folder but the report's."""
    plain, more = planned("inbol-dpo"), planned("inbol-dpo", "recipe.rows=[base,threshold,sft,dpo,calibrated]")
    added = {"predict[dpo,align-val]", "refusal_logps[dpo]", "refusal_logps[dpo,align-val]", "calibrate[dpo]", "score[calibrated]"}
    assert more.keys() - plain.keys() == added
    assert {name for name in plain if plain[name].folder != more[name].folder} == {"report"}
    row = more["score[calibrated]"].inputs
    assert row["calibration"] is more["calibrate[dpo]"] and row["predictions"] is more["predict[dpo]"]
    assert {node.config.split for node in row["calibration"].inputs.values() if hasattr(node.config, "split")} == {"align-val"}
    assert more["report"].config.labels["calibrated"] == "CA-DPO calibrated"
    assert planned("plain-sft", "recipe.rows=[base,sft,calibrated]")["calibrate[sft]"].config.risk.level == 0.05


def test_a_probe_of_honesty_changes_no_folder() -> None:
    assert changed("inbol-dpo", "sft.optim.probe_steps=5", "dpo.optim.probe_steps=5", "dpo.optim.probe_items=4") == set()


def test_a_rule_beside_a_checkpoint_changes_what_it_predicts_and_not_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    own = ("base.kind=pretrained", f"base.path={tmp_path}")
    before = planned("refusal-prompt", *own)
    (tmp_path / "calibration.json").write_text("{}")
    after = planned("refusal-prompt", *own)
    assert before["base"].folder == after["base"].folder
    assert before["sample[test]"].folder == after["sample[test]"].folder
    assert before["predict[base]"].folder != after["predict[base]"].folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("eval_split=align-val",), "'calibrated' is chosen on align-val, and cannot be judged there"),
        (("benchmarks=[pope]",), "'calibrated' promises nothing about the images of benchmarks"),
        (("risk.level=0",), "risk.level: 0.0 must be greater than 0"),
        (("risk.score=luck",), "risk.score: 'luck' is not one of 'margin', 'probability'"),
    ],
)
def test_a_calibrated_row_says_what_it_cannot_do(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run("inbol-dpo", "tiny", ["recipe.rows=[base,sft,dpo,calibrated]", *overrides])
