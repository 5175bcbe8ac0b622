"""The gallery page in a real browser, as a reader uses it: from disk, filtered, clicked through, by keyboard,
on a phone, light and dark; and the commands that write and audit it."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from shelling import Shell

import ratelab
from ratelab.experiments.spec import Claim, Target
from ratelab.paper_figures.house import gallery, make, venues
from ratelab.paper_figures.house.claims import ours

SHOWN = ("condition_number", "d2l_gradient_descent", "d2l_sgd_paths")
DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    DRIVER is None or BROWSER is None,
    reason="no Chromium with its driver: apt install chromium chromium-driver",
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gallery")
    gallery.write([gallery.entry(name, place) for name in SHOWN], place)
    return place


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def test_the_folder_is_whole_and_needs_no_network(folder: Path) -> None:
    """Every link of every page leads to a file of the folder, but for those to the sources."""
    pages = sorted(folder.glob("*.html"))
    assert {page.stem for page in pages} == {"index", "audit", *SHOWN}
    for path in pages:
        page = Page(path)
        for attributes in page.of("img", "script", "link"):
            target = attributes.get("src") or attributes.get("href") or ""
            assert target.startswith("data:") or not target or (folder / target).is_file()
        links = [str(attributes["href"]) for attributes in page.of("a")]
        outward = [link for link in links if link.startswith("http")]
        assert len(outward) == (1 if path.stem in SHOWN else 0)
        for link in set(links) - set(outward):
            name, _, fragment = link.partition("#")
            assert not name or (folder / name).is_file()
            if not name:
                assert fragment in [attributes.get("id") for _, attributes in page.tags]


def test_a_page_has_picture_caption_claims_data_code_and_command(folder: Path) -> None:
    text = (folder / "d2l_gradient_descent.html").read_text(encoding="utf-8")
    module = make.picture("d2l_gradient_descent")
    for claim in module.CLAIMS:
        assert str(claim.target) in text
    assert "ratelab figure d2l_gradient_descent" in text
    assert "def draw(table: Table)" in text
    for ending in ("pdf", "svg", "png", "csv", "py"):
        assert f'href="figures/d2l_gradient_descent.{ending}"' in text
    assert (folder / "figures" / "d2l_gradient_descent.svg").stat().st_size > 5000


# In the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", f"user-data-dir={profile}",
        "window-size=1200,900", "disable-dev-shm-usage",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def _shown(browser: Any) -> list[str]:
    cards = browser.find_elements(By.CSS_SELECTOR, "[data-tags]")
    return [card.find_element(By.TAG_NAME, "h3").text for card in cards if card.is_displayed()]


def _complaints(browser: Any) -> list[Any]:
    return [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


@needs_browser
def test_a_reader_filters_and_clicks_through(folder: Path, browser: Any) -> None:
    browser.get((folder / "index.html").as_uri())
    assert len(_shown(browser)) == 3
    Select(browser.find_element(By.ID, "group")).select_by_visible_text("Papers")
    assert _shown(browser) == [make.picture("condition_number").ABOUT.title]
    assert browser.find_element(By.ID, "shown").text == "1 of 3 figures"
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    assert len(_shown(browser)) == 3
    browser.find_element(By.ID, "words").send_keys("condition")
    assert make.picture("condition_number").ABOUT.title in _shown(browser)
    browser.find_element(By.ID, "words").clear()
    topic = Select(browser.find_element(By.ID, "topic"))
    topic.select_by_visible_text("noise")
    (title,) = _shown(browser)
    browser.find_element(By.LINK_TEXT, title).click()
    assert browser.find_element(By.TAG_NAME, "h1").text == title
    picture = browser.find_element(By.CSS_SELECTOR, "figure img")
    assert browser.execute_script("return arguments[0].naturalWidth", picture) > 1000
    assert browser.find_element(By.CSS_SELECTOR, "table .supported").is_displayed()
    browser.back()
    assert Select(browser.find_element(By.ID, "topic")).first_selected_option.text == "noise"
    assert _shown(browser) == [title]
    for path in sorted(folder.glob("*.html")):
        browser.get(path.as_uri())
    assert not _complaints(browser)


@needs_browser
def test_a_keyboard_reaches_all_and_everything_has_a_name(folder: Path, browser: Any) -> None:
    browser.get((folder / "index.html").as_uri())
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "skip"
    reached = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.get_attribute("id"))
    assert [name for name in reached if name] == ["group", "topic", "claims", "words"]
    for path in sorted(folder.glob("*.html")):
        browser.get(path.as_uri())
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
        assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
        assert len(browser.find_elements(By.TAG_NAME, "main")) == 1
        for control in browser.find_elements(
            By.CSS_SELECTOR, "a, select, input, button, summary, [tabindex]"
        ):
            if control.is_displayed():
                assert control.accessible_name, control.get_attribute("outerHTML")
        for image in browser.find_elements(By.TAG_NAME, "img"):
            assert image.get_attribute("alt") or image.find_elements(By.XPATH, "ancestor::a[h3]")
        for head in browser.find_elements(By.CSS_SELECTOR, "th"):
            assert head.get_attribute("scope") == "col"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_on_a_phone_light_and_dark(folder: Path, browser: Any, scheme: str) -> None:
    """No page scrolls sideways at 360 pixels, and every text has a contrast of 4.5 and more (WCAG AA)."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for path in sorted(folder.glob("*.html")):
            browser.get(path.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 360, path.name
            style = "return getComputedStyle(arguments[0])[arguments[1]]"
            body = browser.find_element(By.TAG_NAME, "body")
            back = _luminance(browser.execute_script(style, body, "backgroundColor"))
            assert (back > 0.5) == (scheme == "light")
            for selector in ("body", "a", ".soft", ".supported", ".refuted", ".undecided"):
                for part in browser.find_elements(By.CSS_SELECTOR, selector)[:1]:
                    text = _luminance(browser.execute_script(style, part, "color"))
                    high, low = max(text, back), min(text, back)
                    assert (high + 0.05) / (low + 0.05) >= 4.5, (selector, scheme)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def _luminance(colour: str) -> float:
    """Relative luminance of rgb(…), WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# The commands


def test_audit_prints_what_is_printed_and_what_is_measured(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shell("audit", "d2l_gradient_descent", "--out", "audit.md")
    module = make.picture("d2l_gradient_descent")
    assert said.code == 0
    assert f"{len(module.CLAIMS)} claims:" in said.out
    assert "0 not as recorded" in said.out
    written = Path("audit.md").read_text(encoding="utf-8")
    for claim in module.CLAIMS:
        assert str(claim.target) in said.out
        assert f"| {claim.sentence}" in written
    wrong = Claim("the moon is made of cheese", lambda _: 0.0, Target(1.0), ours())
    monkeypatch.setattr(module, "CLAIMS", (wrong,))
    said = shell("audit", "d2l_gradient_descent")
    assert said.code == 1
    assert "NOT AS RECORDED" in said.out


def test_a_figure_that_cannot_be_computed_stops_no_other(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is made twice is the same byte by byte."""

    def absent(*_: object) -> None:
        raise ratelab.InputError("the data set is on the moon")

    monkeypatch.setattr(make.picture("d2l_sgd_paths"), "data", absent)
    for command in ("audit", "gallery"):
        said = shell(command, "d2l_sgd_paths", "d2l_gradient_descent")
        assert said.code == 4
        assert "failed: d2l_sgd_paths: the data set is on the moon" in said.err
        assert "0 not as recorded" in said.out
    again = Path("gallery")
    assert (again / "d2l_gradient_descent.html").exists()
    made = [*again.glob("figures/d2l_gradient_descent.*"), *again.glob("thumbnails/*")]
    assert len(made) == 6
    for path in made:
        assert path.read_bytes() == (folder / path.relative_to(again)).read_bytes()


def test_figures_come_in_the_sizes_and_formats_of_a_venue(shell: Shell) -> None:
    said = shell("figure", "d2l_gradient_descent", "--venue", "neurips", "--format", "svg,pdf", "--out", "x")
    assert said.code == 0
    assert {path.name for path in Path("x").iterdir()} == {
        f"d2l_gradient_descent.{ending}" for ending in ("pdf", "svg", "csv", "py")
    }
    assert f'width="{72 * 5.5:g}pt"' in Path("x/d2l_gradient_descent.svg").read_text()
    assert "predicted" in said.out


def test_what_cannot_be_drawn_is_refused_with_what_can(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "d2l_gradient_descent"
    assert "neurips, icml" in shell("figure", name, "--venue", "nips").err
    assert "pdf, pgf, svg, png" in shell("figure", name, "--format", "jpg").err
    assert "no columns" in shell("figure", name, "--venue", "neurips", "--column").err
    assert "did you mean bach_moulines" in shell("audit", "bach_moulin").err
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "need LaTeX" in shell("figure", name, "--format", "pgf").err
    assert "need LaTeX" in shell("figure", name, "--tex").err
    assert not Path("figures").exists()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX: apt install texlive-latex-extra")
def test_latex_sets_a_figure_that_repeats_byte_by_byte(tmp_path: Path) -> None:
    name = "d2l_gradient_descent"
    module = make.picture(name)
    style = make.Style(venues.venue("neurips").settings(), ("pdf", "pgf"), tex=True)
    first, second = (make.save(name, module.data(), tmp_path / folder, style) for folder in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"\\begin{pgfpicture}" in first[1].read_bytes()
    assert b"/FontFile2" not in first[0].read_bytes()  # LaTeX's fonts are Type 1, matplotlib's TrueType
