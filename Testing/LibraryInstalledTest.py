"""Runs inside a built extension: is the library there, with its term list and its models?"""

from __future__ import annotations

import unittest
from importlib.resources import files


class LibraryInstalledTest(unittest.TestCase):
    """Needs neither PyTorch nor a scan."""

    def test_the_library_can_be_imported(self) -> None:
        from CovidLungQuantLib.labels import LABELS

        self.assertEqual([label.value for label in LABELS], [1, 2, 3])

    def test_the_resources_lie_beside_the_code(self) -> None:
        resources = files("CovidLungQuantLib") / "resources"
        self.assertTrue((resources / "CovidLungQuant.term.json").is_file())
        self.assertTrue(any((resources / "models").iterdir()))

    def test_the_pages_have_their_templates_and_their_style(self) -> None:
        pages = files("CovidLungQuantLib") / "pages"
        self.assertTrue((pages / "style.css").is_file())
        self.assertTrue((pages / "templates" / "report.html.j2").is_file())


if __name__ == "__main__":
    unittest.main()
