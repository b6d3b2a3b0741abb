"""The page in a real browser, offline: sorting, pointing, filtering by class, dark, and 360 px wide."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.comparison.result_folders import Compared

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no page is opened")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium here ({', '.join(NAMES)}): no page is opened")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        # Without its sandbox it also starts as root, in a container; it opens our own page alone.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Browser, compared: Compared) -> Page:
    """The page, drawn; whatever it asks for or complains about is collected."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.on("request", lambda request: REQUESTS.append(request.url))
    page.on(
        "console", lambda message: COMPLAINTS.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: COMPLAINTS.append(str(error)))
    page.goto((compared.out / "index.html").as_uri())
    page.wait_for_selector("html[data-drawn=yes]")
    return page


REQUESTS: list[str] = []
COMPLAINTS: list[str] = []


def test_it_draws_everything_and_asks_for_nothing(page: Page) -> None:
    drawn = page.eval_on_selector_all(
        ".plot", "all => all.map(plot => [plot.id, plot.querySelectorAll('.main-svg').length > 0])"
    )
    names = "tradeoff learning classes sizes differences precision f1 calibration lrp errors confusion"
    assert dict(drawn) == dict.fromkeys(names.split(), True)
    assert [url for url in REQUESTS if not url.startswith(("file:", "data:", "blob:"))] == []
    assert COMPLAINTS == []


def first_column(page: Page) -> list[str]:
    names: list[str] = page.eval_on_selector(
        "table.sortable", "t => [...t.tBodies[0].rows].map(row => row.cells[0].textContent)"
    )
    return names


def test_a_click_on_a_heading_sorts(page: Page) -> None:
    heading = page.locator("table.sortable").first.get_by_role("button", name="p50 ms")
    heading.click()
    assert first_column(page)[:3] == ["good", "fast", "elsewhere"]
    heading.click()
    assert first_column(page)[:3] == ["elsewhere", "fast", "good"]  # rows without a time stay last
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("p50 ms")


def test_pointing_at_a_mark_names_the_detector(page: Page) -> None:
    page.locator("#tradeoff .point").first.hover(force=True)
    text = page.locator("#tradeoff .hoverlayer").text_content()
    assert text is not None
    assert text.startswith("good")
    assert "ssd · resnet18 · 128x128" in text
    assert "median latency, ms: 40" in text


def test_axes_can_be_chosen(page: Page) -> None:
    page.locator("select[data-menu=cost]").select_option("parameters, millions")
    assert page.locator("#tradeoff .xtitle").text_content() == "parameters, millions (log)"
    page.locator("select[data-menu=gain]").select_option("AP50 %")
    title = page.locator("#tradeoff .gtitle").text_content()
    assert title is not None
    assert title.startswith("AP50 % (n=")


def test_a_class_can_be_filtered(page: Page) -> None:
    menu = page.locator("select[data-menu=class]").first
    names: list[str] = menu.evaluate("menu => [...menu.options].map(option => option.value)")
    before = page.locator("#classes .bars .point").count()
    assert before == (len(names) - 1) * 5  # five detectors
    menu.select_option(names[1])
    assert page.locator("#classes .bars .point").count() == 5
    # Every such menu follows, and so does the wall: other classes' boxes and images without any step aside.
    assert set(page.eval_on_selector_all("select[data-menu=class]", "all => all.map(one => one.value)")) == {names[1]}
    seen = page.eval_on_selector_all(
        ".wall .box", "all => all.filter(b => getComputedStyle(b).display !== 'none').map(b => b.dataset.class)"
    )
    assert set(seen) == {names[1]}
    menu.select_option(names[0])
    assert page.locator("#classes .bars .point").count() == before
    assert page.locator(".wall.aside, .box.aside").count() == 0


def test_two_detectors_are_compared_class_by_class(page: Page) -> None:
    first, second = page.locator("select[data-menu=less]"), page.locator("select[data-menu=from]")
    first.select_option("good")
    second.select_option("fast")
    assert page.locator("#differences .xtitle").text_content() == "AP of good less AP of fast, points"
    second.select_option("good")
    assert "two different detectors" in (page.locator("#differences").get_attribute("data-empty") or "")
    second.select_option("fast")


def test_the_wall_shows_what_one_finds_and_the_other_misses(page: Page) -> None:
    finds, misses = page.locator("select[data-wall=finds]"), page.locator("select[data-wall=misses]")
    everything = page.locator(".wall:visible").count()
    finds.select_option("good")
    misses.select_option("fast")
    shown = page.locator(".wall:visible")
    assert page.locator("#wall-choice output").text_content() == f"{shown.count()} of {everything} images"
    assert shown.count() > 0
    for n in range(shown.count()):
        assert shown.nth(n).locator("[data-detector=fast] .told").count() > 0
        assert shown.nth(n).locator("[data-detector=good] .told").count() == 0
    assert page.url.endswith("#finds=good&misses=fast")
    told = page.locator(".box.told").count()
    page.reload()  # the address is the choice
    page.wait_for_selector("html[data-drawn=yes]")
    assert (finds.input_value(), misses.input_value()) == ("good", "fast")
    assert page.locator(".box.told").count() == told
    finds.select_option("fast")
    misses.select_option("good")  # whatever `good` misses, `fast` misses as well
    assert page.locator(".wall:visible").count() == 0
    finds.select_option("")
    assert page.locator(".wall:visible").count() == everything
    misses.select_option("")
    assert "#" not in page.url


def luminance(page: Page, selector: str, property_: str) -> float:
    """0 is black, 255 white."""
    colour: str = page.eval_on_selector(selector, f"e => getComputedStyle(e).{property_}")
    return sum(float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def test_dark(page: Page) -> None:
    assert luminance(page, "body", "backgroundColor") > 240
    assert luminance(page, "#tradeoff .xtitle", "fill") < 60
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.querySelector('#tradeoff .xtitle')).fill.match(/2\\d\\d/)")
    assert luminance(page, "body", "backgroundColor") < 40
    assert luminance(page, "#tradeoff .xtitle", "fill") > 200
    page.emulate_media(color_scheme="light")


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function("[...document.querySelectorAll('.plot .main-svg')].every(s => s.clientWidth <= 360)")
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [360, 360]
    page.set_viewport_size({"width": 1280, "height": 900})


CUT = """() => [...document.querySelectorAll('.plot .gtitle, .plot .xtitle')].filter(title => {
  const [a, b] = [title.getBoundingClientRect(), title.closest('.plot').getBoundingClientRect()];
  return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
}).map(title => title.textContent)"""
COVERED = """key => {
  const table = document.querySelector('table.sortable'), heading = table.querySelector(`th[data-key="${key}"]`);
  const room = table.parentElement;
  room.scrollLeft = heading.offsetLeft - table.tHead.rows[0].cells[0].offsetWidth;
  const [own, name, whole] = [heading, table.tHead.rows[0].cells[0], room].map(e => e.getBoundingClientRect());
  return name.left < whole.left - 1 || own.left < name.right - 1 || own.right > whole.right + 1;
}"""
SHOWN = "() => [...document.querySelectorAll('table.sortable')][0].querySelectorAll('th:not([hidden])').length"


@pytest.mark.parametrize("width", [360, 1280])
def test_no_column_is_lost_and_no_title_is_cut(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(  # drawn again, at this width
        "[...document.querySelectorAll('.plot .main-svg')].every(s => s.clientWidth === s.closest('.plot').clientWidth)"
    )
    assert page.evaluate(CUT) == []
    room = page.locator(".table .scroll").first
    assert room.evaluate("e => e.scrollWidth <= e.clientWidth")  # as many as fit
    fitted = page.evaluate(SHOWN)
    choices = page.locator("details.columns").first
    choices.evaluate("details => { details.open = true; }")
    page.locator("[data-columns=all]").first.click()
    keys = page.eval_on_selector_all(".table:first-of-type details.columns input", "all => all.map(e => e.value)")
    assert page.evaluate(SHOWN) > fitted >= 3
    first = page.locator("table.sortable").first.evaluate(
        "t => [...t.tHead.rows[0].cells].slice(1).map(c => c.dataset.key)"
    )
    assert set(first) <= set(keys)
    assert [key for key in first if page.evaluate(COVERED, key)] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("[data-columns=fit]").first.click()
    assert page.evaluate(SHOWN) == fitted
    choices.evaluate("details => { details.open = false; }")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_an_image_is_enlarged_by_click_and_by_key(page: Page) -> None:
    figure = page.locator(".wall .enlarge").first
    small = figure.locator("svg").bounding_box()
    figure.click()
    large = page.locator("#enlarged .frame svg").bounding_box()
    assert small is not None
    assert large is not None
    assert large["width"] > small["width"]
    assert page.locator("#enlarged .said li").count() == page.locator("#enlarged .box").count() > 0
    title = page.locator("#enlarged h3").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#enlarged h3").inner_text() != title
    page.keyboard.press("Escape")
    assert not page.locator("#enlarged").is_visible()
    figure.focus()
    page.keyboard.press("Enter")
    assert page.locator("#enlarged").is_visible()
    page.keyboard.press("Escape")
    assert figure.evaluate("e => e === document.activeElement")
