"""The page in a real browser: it loads nothing, fits a phone, reads in both themes and without a
mouse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser

PHONE, NARROW, DESKTOP = 390, 320, 1280

# Every visible text beside the colour it stands on: [ratio, text], the worst of each class first.
CONTRAST = """(() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(colour).map(value => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour).length === 3 || channels(colour)[3] === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), holder = walker.currentNode.parentElement;
    if (!text || ['SCRIPT', 'STYLE', 'title'].includes(holder.tagName)) continue;
    if (!holder.getClientRects().length) continue;
    const style = getComputedStyle(holder);
    if (holder.ownerSVGElement) {
      const disc = document.querySelector('circle.fill-int8');
      const lies = holder.classList.contains('on-int8');
      const on = lies ? getComputedStyle(disc).fill : ground(holder);
      found.push([ratio(style.fill, on), text]);
    } else {
      found.push([ratio(style.color, ground(holder)), text]);
    }
  }
  return found.sort((a, b) => a[0] - b[0]);
})()"""
OUTSIDE = """[...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  if (!box.width || each.closest('.skip, caption, thead, [clip-path]')) return false;
  return box.right > innerWidth + 0.5 || box.left < -0.5;
}).map(each => each.outerHTML.slice(0, 120))"""
CUT_OFF = """[...document.querySelectorAll('svg.chart text')].filter(each => {
  const box = each.getBoundingClientRect(), whole = each.ownerSVGElement.getBoundingClientRect();
  return box.left < whole.left - 1 || box.right > whole.right + 1
    || box.top < whole.top - 1 || box.bottom > whole.bottom + 1;
}).map(each => each.textContent)"""
# Pairs of texts of which one lies over the other; the fifth of a line that is empty above and
# below its letters does not count.
OVERLAPS = """(() => {
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, holder = node.parentElement;
    if (!node.textContent.trim() || holder.closest('script, style, title, .skip')) continue;
    const head = holder.closest('thead, caption');
    if (head && head.getBoundingClientRect().width <= 1) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const shape = holder.ownerSVGElement ? holder : range;
    const lines = shape === holder ? [holder.getBoundingClientRect()] : range.getClientRects();
    for (const line of lines) {
      if (line.width < 1 || line.height < 1) continue;
      const empty = 0.2 * line.height, text = node.textContent.trim().slice(0, 40);
      boxes.push({node, text, left: line.left + 1, right: line.right - 1,
                  top: line.top + empty, bottom: line.bottom - empty});
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  return boxes.flatMap((a, place) => {
    const over = [];
    for (let j = place + 1; j < boxes.length && boxes[j].top < a.bottom; j++) {
      const b = boxes[j];
      if (a.node !== b.node && a.left < b.right && b.left < a.right) over.push([a.text, b.text]);
    }
    return over;
  });
})()"""
CONTROLS = (
    "[...document.querySelectorAll('a[href], button, summary')].filter(each => "
    "each.getClientRects().length)"
)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_loads_without_a_message_and_asks_nobody_for_anything(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width=width)
    assert browser.seen.console == []
    assert browser.seen.requests == [page.as_uri()]


def test_the_browser_notices_what_the_page_must_not_do(browser: Browser, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text(
        '<img src="https://192.0.2.1/a.png"><script>console.log("spoke")</script>', encoding="utf-8"
    )
    browser.open(other)
    assert "https://192.0.2.1/a.png" in browser.seen.requests
    assert "spoke" in browser.seen.console


@pytest.mark.parametrize("width", [NARROW, PHONE, 768, 1100, DESKTOP])
def test_nothing_sticks_out_of_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OUTSIDE) == []


@pytest.mark.parametrize(
    "width", [NARROW, PHONE, 480, 600, 700, 768, 832, 900, 1024, 1100, DESKTOP, 1920]
)
def test_no_text_lies_over_another_at_any_width(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.evaluate(OVERLAPS) == []


def test_the_browser_notices_texts_that_overlap(browser: Browser, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text(
        "<p>one</p><p style='margin-top: -1.9em'>over it</p><p>apart</p>", encoding="utf-8"
    )
    browser.open(other)
    assert browser.evaluate(OVERLAPS) == [["one", "over it"]]


def test_no_text_of_a_drawing_is_cut_off(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = browser.evaluate(CONTRAST)
    assert len(found) > 300
    assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize("dark", [False, True])
def test_marks_of_the_drawings_stand_out(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    for mark in (".fill-int8", ".fill-source", ".fill-fail", ".fill-ink"):
        assert (
            _ratio(
                browser.evaluate(f"getComputedStyle(document.querySelector('svg {mark}')).fill"),
                paper,
            )
            >= 3
        ), mark


def test_the_tab_key_reaches_every_control_in_the_order_of_the_page(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    count = browser.evaluate(f"{CONTROLS}.length")
    assert count > 15
    for place in range(count):
        browser.press("Tab")
        assert browser.evaluate(f"{CONTROLS}.indexOf(document.activeElement)") == place
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_numbers_behind_a_drawing_open_with_the_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.evaluate("document.querySelector('figure summary').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('figure details').open")
    assert (
        browser.evaluate("document.querySelector('figure details table').getClientRects().length")
        == 1
    )


def test_the_page_follows_the_system_until_the_reader_chooses(browser: Browser, page: Path) -> None:
    browser.open(page, dark=True)
    assert _light(_paper(browser)) < 0.05
    browser.evaluate("document.getElementById('theme').focus()")
    browser.press(" ")
    assert browser.evaluate("document.getElementById('theme').textContent") == "Theme: light"
    assert _light(_paper(browser)) == 1
    browser.press(" ")
    assert _light(_paper(browser)) < 0.05
    browser.open(page)
    assert _light(_paper(browser)) == 1


def test_nothing_moves_for_a_reader_who_wants_no_motion(browser: Browser, page: Path) -> None:
    browser.open(page, still=True)
    assert browser.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    moving = (
        "[...document.querySelectorAll('*')].filter(each => "
        "getComputedStyle(each).transitionDuration !== '0s').length"
    )
    assert browser.evaluate(moving) == 0


def test_every_drawing_is_told_in_words_and_every_table_is_named(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    silent = (
        "[...document.querySelectorAll('svg')].filter(each => !each.ariaLabel && "
        "each.getAttribute('aria-hidden') !== 'true').length"
    )
    assert browser.evaluate(silent) == 0
    assert (
        browser.evaluate(
            "[...document.querySelectorAll('figure')].filter(each => "
            "!each.querySelector('figcaption').textContent).length"
        )
        == 0
    )
    assert (
        browser.evaluate(
            "[...document.querySelectorAll('table')].filter(each => "
            "!each.caption.textContent.trim()).length"
        )
        == 0
    )
    assert browser.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(each => each.id)).size === "
        "document.querySelectorAll('[id]').length"
    )
    assert browser.evaluate(
        "[...document.querySelectorAll('nav a')].every(each => document.querySelector(each.hash))"
    )


def test_without_its_script_the_page_still_reads(browser: Browser, page: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.evaluate("document.getElementById('theme').getClientRects().length") == 0
        assert (
            browser.evaluate("document.querySelector('.word').textContent.trim()") == "NOT PROVEN"
        )
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def _paper(browser: Browser) -> str:
    colour: Any = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    return str(colour)


def _ratio(colour: str, ground: str) -> float:
    high, low = sorted((_light(colour), _light(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _light(colour: str) -> float:
    """Return the relative luminance of rgb(...), as WCAG 2.2 defines it."""
    channels = [
        int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")
    ]
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
