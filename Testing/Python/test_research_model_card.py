"""The model card: every figure on it is that of a table."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.lesions.networks import config_to_values
from CovidLungQuantLib.models.registry import MODELS_FOLDER
from CovidLungQuantLib.training.evaluation import CaseAgreement
from CovidLungQuantLib.training.recipes import RECIPES, recipe
from research.card_recipe import recipe_text
from research.card_sections import (
    ablation_section,
    class_means,
    costs_section,
    false_positives_section,
    fine_tuning_section,
    other_models_section,
    read_table,
    robustness_section,
)
from research.cross_validation import write_table
from research.false_positives import PLACES
from research.model_card import model_card


def a_table(path: Path, lesion_dice: dict[str, float]) -> Path:
    """A cross-validation table with these Dice; covid05 has hardly any lesion."""
    rows = []
    for case, figure in lesion_dice.items():
        values = {field.name: 1.0 for field in fields(CaseAgreement)}
        values |= {"case": case, "lesion_dice": figure, "sure_slices": 1}
        values["reference_extent_percent"] = 0.1 if case == "covid05" else 8.0
        rows.append(CaseAgreement(**values))
    write_table(path, rows)
    return path


def test_other_models_are_compared_on_the_cases_they_were_tested_on(tmp_path):
    mine = a_table(
        tmp_path / "mine.csv", {"covid01": 0.9, "covid04": 0.8, "covid05": 0.1, "covid10": 0.7}
    )
    other = a_table(
        tmp_path / "unet-1.cross-validation.csv", {"covid04": 0.5, "covid05": 0.2, "covid10": 0.6}
    )
    row = other_models_section([other], read_table(mine)).splitlines()[-2]
    assert row.startswith("| unet-1: ")
    assert row.endswith("| 2 | 0.500 | 0.600 | 0.550 | 0.750 | – |")


def test_six_cases_that_all_differ_one_way_have_the_smallest_p_there_is(tmp_path):
    mine = a_table(tmp_path / "mine.csv", {f"covid1{n}": 0.8 + n / 100 for n in range(6)})
    other = a_table(tmp_path / "unet-1.csv", {f"covid1{n}": 0.7 - n / 100 for n in range(6)})
    # Of the 64 ways to sign six differences two are as one-sided.
    assert other_models_section([other], read_table(mine)).splitlines()[-2].endswith("| 0.031 |")


def test_a_source_without_cases_has_no_mean(tmp_path):
    table = a_table(tmp_path / "unet-1.csv", {"covid10": 0.6})
    row = other_models_section([table], read_table(table)).splitlines()[-2]
    assert row.endswith("| 1 | – | 0.600 | 0.600 | 0.600 | – |")


def test_costs_are_those_of_the_benchmarks_table(tmp_path):
    table = tmp_path / "costs.csv"
    table.write_text(
        "model,architecture,parameters,seconds,ratio,peak_mib\n"
        "one,UNet,485000,12.0,1.00,900\ntwo,Other,1234567,30.0,2.50,1100\n",
        encoding="utf-8",
    )
    lines = costs_section(table).splitlines()
    assert "| one | 485,000 | 1.00 | 900 |" in lines
    assert "| two | 1,234,567 | 2.50 | 1100 |" in lines


def test_fine_tuning_shows_the_case_held_back_before_and_after(tmp_path):
    comparison = {
        "trained_on": ["covid01", "covid02"],
        "cases": [
            {"case": "covid03", "old": {"lesion_dice": 0.61}, "new": {"lesion_dice": 0.7236}}
        ],
    }
    file = tmp_path / "x.comparison.json"
    file.write_text(json.dumps(comparison), encoding="utf-8")
    assert "| covid03 | 2 | 0.610 | 0.724 |" in fine_tuning_section([file]).splitlines()


def test_robustness_is_the_fall_from_the_scan_as_it_is(tmp_path):
    table = tmp_path / "robustness.csv"
    table.write_text(
        "case,unchanged,thick slices\ncovid01,0.8,0.75\ncovid02,0.7,0.71\n", encoding="utf-8"
    )
    assert "| thick slices | 0.020 | 0.050 |" in robustness_section(table).splitlines()


def test_nothing_is_said_of_what_was_not_measured():
    assert other_models_section([], []) == ""
    assert costs_section(None) == fine_tuning_section([]) == robustness_section(None) == ""


def test_ablation_shows_each_case_the_mean_and_the_change(tmp_path):
    table = tmp_path / "ablation.csv"
    table.write_text(
        "case,everything,painted lesions\ncovid01,0.8,0.7\ncovid02,0.6,0.65\n", encoding="utf-8"
    )
    lines = ablation_section(table).splitlines()
    assert "| left out, or added (+) | covid01 | covid02 | mean | change |" in lines
    assert "| everything | 0.800 | 0.600 | 0.700 | +0.000 |" in lines
    assert "| painted lesions | 0.700 | 0.650 | 0.675 | -0.025 |" in lines


def test_false_positives_show_where_they_lie(tmp_path):
    table = tmp_path / "false-positives.csv"
    keys = [name.replace(" ", "_") for name in PLACES]
    columns = [f"{key}_{what}" for key in keys for what in ("lung_percent", "ml")]
    for scan, percents in (("one", range(10, 16)), ("two", range(20, 26))):
        figures = [f"{percent},{percent / 10}" for percent in percents]
        with table.open("a", encoding="utf-8") as file:
            if scan == "one":
                file.write(",".join(["scan,model,extent_percent,lesion_ml", *columns]))
                file.write(",outside_lungs_ml\n")
            file.write(f"{scan},m,0.254,12.34,{','.join(figures)},0.5\n")
    lines = false_positives_section([table]).splitlines()
    assert f"| scan | network | % | mL | {' | '.join(PLACES)} | beyond the lungs |" in lines
    assert "| one | m | 0.25 | 12.3 | 1.0 | 1.1 | 1.2 | 1.3 | 1.4 | 1.5 | 0.5 |" in lines
    assert "| two | m | 0.25 | 12.3 | 2.0 | 2.1 | 2.2 | 2.3 | 2.4 | 2.5 | 0.5 |" in lines
    assert lines[-2].startswith("| *share of the lungs* | | | | 15 % | 16 % |")
    assert false_positives_section([]) == ""


def test_the_recipe_tells_how_the_main_branch_began():
    saved = {
        name: asdict(recipe(name)) | {"network": config_to_values(recipe(name).network)}
        for name in RECIPES
    }
    config, unet = saved["unet-attention"], saved["unet"]
    text = recipe_text(config | {"epochs": 8, "main_branch_epochs": 0}, unet)
    assert "8 epochs of 40 steps with 16 target slices" in text
    assert "learned alone in the same way: 55 epochs of 40 steps with 16 slices" in text
    assert "dense block of growth 16" in recipe_text(saved["short"])
    assert "target slices each, 16 channels at the finest level; loss" in recipe_text(unet)


def test_a_class_of_which_there_is_hardly_any_is_left_out_of_the_second_mean():
    common = {"reference_lesion_ml": 100.0, "reference_extent_percent": 5.0}
    common |= {"network_ggo_dice": 0.5, "network_high_opacity_dice": 0.5}
    # Lungs of 2000 mL each; 0.5 % are 10 mL.
    rows = [
        common
        | {"ggo_dice": 0.8, "high_opacity_dice": 0.6}
        | {"reference_ggo_ml": 89.0, "reference_high_opacity_ml": 11.0},
        common
        | {"ggo_dice": 0.6, "high_opacity_dice": 0.2}
        | {"reference_ggo_ml": 91.0, "reference_high_opacity_ml": 9.0},
    ]
    every, enough = class_means(rows).splitlines()
    assert every.startswith("| mean, all | | 0.700 (2) | 0.400 (2) | 0.500 (2) |")
    assert enough.startswith("| mean, enough | | 0.700 (2) | 0.600 (1) | 0.500 (2) |")


RESULTS = Path(model_card.__code__.co_filename).parent / "results"
CARDS = {
    "convlstm-attention-4": {
        "other_tables": [
            "convlstm-attention-4-mirror.cross-validation.csv",
            "convlstm-attention-4-seed-1.cross-validation.csv",
            "unet-1.cross-validation.csv",
        ],
        "costs_table": "convlstm-attention-4.costs.csv",
        "robustness_table": "convlstm-attention-4.robustness.csv",
        "fine_tunings": [
            "convlstm-attention-4.with-covid02.comparison.json",
            "convlstm-attention-4.with-covid03.comparison.json",
        ],
        "slices_table": "convlstm-attention-4.slices.csv",
        "retrained": ".",
        "ablations": "unet-1.ablation.csv",
        "false_positives": [
            "convlstm-attention-4.false-positives.csv",
            "unet-without-one-scan.false-positives.csv",
        ],
    },
    "unet-1": {
        "other_tables": ["convlstm-attention-4.cross-validation.csv"],
        "slices_table": "unet-1.slices.csv",
        "ablations": "unet-1.ablation.csv",
        "false_positives": [
            "unet-1.false-positives.csv",
            "unet-without-one-scan.false-positives.csv",
        ],
    },
}


@pytest.mark.parametrize("name", CARDS)
def test_the_shipped_card_says_what_the_tables_say(name):
    card = (MODELS_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    # The recipe comes from the configurations of the runs, which are not kept here.
    recipe = card.partition("## Training\n\n")[2].partition("\n\n## Cross-validation")[0]
    picture = RESULTS / f"{name}.worst-slices.png"
    assert card == model_card(
        load_model(name),
        read_table(RESULTS / f"{name}.cross-validation.csv"),
        recipe,
        pictures=f"research/results/{picture.name}" if picture.exists() else "",
        **{
            what: [RESULTS / file for file in files] if isinstance(files, list) else RESULTS / files
            for what, files in CARDS[name].items()
        },
    )


def test_a_card_links_to_nothing_that_is_not_beside_it():
    for card in MODELS_FOLDER.rglob("*.md"):
        for target in re.findall(r"\]\(([^)]*)\)", card.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (card.parent / target).exists(), target
