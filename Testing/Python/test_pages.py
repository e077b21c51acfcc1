"""Pages from templates: nothing that a scan or a table says can break them, and they ship whole."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
from small_chest import a_ct, a_quantification, labels_at

from CovidLungQuantLib.cohort.agreement_files import agreement_page, evaluation_page
from CovidLungQuantLib.cohort.evaluation import CaseEvaluation, Evaluation
from CovidLungQuantLib.cohort.follow_up import FollowUp, TimePoint, compare_time_points
from CovidLungQuantLib.cohort.follow_up_files import follow_up_page
from CovidLungQuantLib.cohort.reader_tables import compare_observers, read_reader_tables
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.display.colors import CT_SCORE_COLORS, REGION_SCORE_COLORS
from CovidLungQuantLib.measures.against_reader import MEASURES, StructureComparison
from CovidLungQuantLib.measures.columns import HU, ML, PERCENT, Column
from CovidLungQuantLib.measures.score_bins import CT_SCORE, CT_SEVERITY_SCORE
from CovidLungQuantLib.measures.structures import STRUCTURES
from CovidLungQuantLib.outputs.report import report_html
from CovidLungQuantLib.pages import rendering
from CovidLungQuantLib.pages.drawings import Svg
from CovidLungQuantLib.pages.rendering import figure_text, render_page
from CovidLungQuantLib.training.expected_gain import CORRECTED, RankedCase, ranked
from CovidLungQuantLib.training.training_set_page import training_set_page

ROOT = Path(__file__).resolve().parents[2]
BAD = '<script>alert("x")</script>'
ESCAPED = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"


def a_report() -> str:
    quantification = a_quantification(a_ct(name=BAD), lobes=True)
    provenance = replace(quantification.provenance, model_name=BAD)
    warnings = (ScanWarning("odd", f"odd {BAD}"),)
    return report_html(replace(quantification, warnings=warnings, provenance=provenance))


def an_evaluation() -> str:
    values = {measure.key: 0.5 for measure in MEASURES}
    rows = tuple(StructureComparison(name, 4, **values, reason=BAD) for name in STRUCTURES)
    case = CaseEvaluation(BAD, BAD, BAD, rows, ())
    return evaluation_page(Evaluation((case,), (), (), (f"odd {BAD}",)), with_figures=False)


def an_agreement(folder: Path) -> str:
    table = folder / "readers.csv"
    table.write_text(f"case,measure,automatic,<script>reader\n1,{BAD},1,2\n", encoding="utf-8")
    tables = read_reader_tables(table)
    comparisons = [item for table in tables for item in compare_observers(table)]
    return agreement_page(tables, comparisons, with_figures=False)


def a_time_point(index: int) -> TimePoint:
    run = a_quantification(labels=labels_at(index))
    provenance = {"model_name": BAD, "software_version": BAD, "options": {"kinds": BAD}}
    return TimePoint(BAD, float(index), run.measurements.regions, provenance, (BAD,))


def a_change() -> FollowUp:
    return compare_time_points([a_time_point(0), a_time_point(1)], anyway=True)


def a_training_set(folder: Path) -> str:
    cases = ranked([RankedCase(BAD, CORRECTED, 1.0, 2.0)], {BAD: f"odd {BAD}"})
    return training_set_page(folder, cases, folder)


@pytest.fixture(params=["report", "evaluation", "agreement", "change", "training set"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each page of things that have a script for a name."""
    pages = {
        "report": a_report,
        "evaluation": an_evaluation,
        "agreement": lambda: an_agreement(tmp_path),
        "change": lambda: follow_up_page(a_change(), with_figures=False),
        "training set": lambda: a_training_set(tmp_path),
    }
    return pages[request.param]()


def test_a_script_for_a_name_stays_a_text(page: str):
    assert "<script" not in page
    assert page.count(ESCAPED) >= 1


def test_the_pages_share_one_style_and_load_nothing(page: str):
    (style,) = re.findall(r"<style>\n(.*?)\n*</style>", page, re.DOTALL)
    assert style == (rendering.FOLDER / "style.css").read_text(encoding="utf-8").rstrip("\n")
    assert not re.search(r'(href|src)="(?!data:|#)', page)
    assert "http" not in page and "@import" not in page and "url(" not in page


def test_the_same_input_gives_the_same_page(tmp_path: Path):
    found = a_change()
    assert follow_up_page(found, with_figures=False) == follow_up_page(found, with_figures=False)
    assert an_evaluation() == an_evaluation()
    assert an_agreement(tmp_path) == an_agreement(tmp_path)


def test_only_drawings_made_here_are_taken_as_they_are():
    for file in rendering.TEMPLATE_FOLDER.iterdir():
        assert not re.search(r"\|\s*safe|autoescape", file.read_text(encoding="utf-8")), file.name
    template = rendering._environment().from_string("{{ a }}{{ b }}")
    assert template.render(a=Svg("<svg/>"), b="<svg/>") == "<svg/>&lt;svg/&gt;"


def test_what_a_template_is_not_given_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render_page("change.html.j2", title="x")


def test_every_template_can_be_read():
    environment = rendering._environment()
    names = [file.name for file in rendering.TEMPLATE_FOLDER.iterdir()]
    assert len(names) >= 9
    for name in names:
        environment.get_template(name)


def test_templates_and_style_are_in_the_wheel():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    patterns = re.search(r"^CovidLungQuantLib = \[(.*)\]$", text, re.MULTILINE)[1]
    library = ROOT / "CovidLungQuantLib"
    shipped = {
        file for pattern in re.findall(r'"([^"]+)"', patterns) for file in library.glob(pattern)
    }
    others = {file for file in (library / "pages").rglob("*") if file.is_file()}
    others = {file for file in others if file.suffix not in (".py", ".pyc")}
    assert len(others) >= 10 and others <= shipped


def test_what_the_panel_imports_needs_no_template_engine():
    modules = "mrml.follow_up, mrml.extras, mrml.density, outputs.folder, outputs.pdf"
    code = "import sys; sys.modules['jinja2'] = sys.modules['markupsafe'] = None\n" + "".join(
        f"import CovidLungQuantLib.{name}\n" for name in modules.split(", ")
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_every_score_has_a_colour():
    assert len(CT_SCORE_COLORS) == CT_SCORE.highest_of_part + 1
    assert len(REGION_SCORE_COLORS) == CT_SEVERITY_SCORE.highest_of_part + 1


def test_a_figure_of_another_unit_is_shown_with_its_decimals():
    assert figure_text(1234.4, Column("a_ml", "A", ML)) == "1\u202f234"
    assert figure_text(0.01, Column("a_percent", "A", PERCENT)) == "<0.1"
    assert figure_text(-850.25, Column("a_hu", "A", HU, decimals=1)) == "−850.2"
