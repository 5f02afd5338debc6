"""These tests open the interactive page (docs/play) in a browser without a screen, and check its
source.
"""

import html
import http.server
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading

import pytest

from minidl import svg
from tools import build_site, play_page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
SOURCE = play_page.SOURCE.read_text(encoding="utf-8")
CASES = [
    (name, html.unescape(settings))
    for name, settings in re.findall(r'<a href="#([\w-]+)"\s+data-settings="([^"]*)"', SOURCE)
]

# The results of networks A and B of the cases after 1,000 steps, or before the first one.
TRAIN = """(cases) => Object.fromEntries(Object.entries(cases).map(([name, [, given]]) => [
  name, ["a", "b"].map((which) => {
    const numbers = Object.fromEntries(Object.entries(given).map(
      ([key, text]) => [key, isNaN(text) ? text : Number(text)]));
    const run = new Runs.Run({...numbers, norm: given[which], sorted: given.order === "sorted"});
    while (name !== "sixteen-layers" && run.steps < 1000 && !run.diverged) run.step();
    run.shift(numbers.offset, numbers.contrast);
    return {...run.last, gradients: run.gradientNorms};
  })]))"""
# This script runs in a page that holds the tested pages in frames of different widths. It waits
# until they have trained, uses their controls, and sends what it has seen to the test.
DRIVER = """
const wait = (ready) => new Promise((done) => {
  const look = () => (ready() ? done() : setTimeout(look, 20));
  look();
});
const figure = (page, name) => page.querySelector(`[data-figure="${name}"]`).textContent;
async function seen(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, found = {};
  const steps = () => Number(page.getElementById("steps").textContent.replace(",", ""));
  const click = (id) => page.getElementById(id).click();
  await wait(() => steps() >= 40);
  found.opened = page.querySelector("[aria-current]").hash;
  click("run");
  found.paused = [steps(), page.getElementById("run").textContent];
  click("step");
  found.stepped = steps();
  found.figures = [...page.querySelectorAll("[data-figure]")].map((cell) => cell.textContent);
  found.wide = [page.documentElement.scrollWidth, view.innerWidth];
  found.drawn = [...page.querySelectorAll("canvas")].map((canvas) => new Set(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).size);
  found.controls = [...page.querySelectorAll("input, select, button")].map((one) => [
    one.id, one.tagName === "BUTTON" || one.labels.length, one.tabIndex,
    one.getBoundingClientRect().right <= view.innerWidth]);
  click("restart");
  found.restarted = [steps(), page.getElementById("run").textContent];
  const twice = [];
  for (const _ of [0, 1]) {
    click("restart");
    for (let k = 0; k < 10; k++) click("step");
    twice.push([...page.querySelectorAll("[data-figure]")].map((cell) => cell.textContent));
  }
  found.same = JSON.stringify(twice[0]) === JSON.stringify(twice[1]);
  const before = figure(page, "a testLoss"), offset = page.getElementById("offset");
  offset.value = offset.max;
  offset.dispatchEvent(new view.Event("input", {bubbles: true}));
  found.shifted = [before, figure(page, "a testLoss"), steps()];
  found.cases = {};
  for (const link of page.querySelectorAll("#cases a")) {
    link.click();
    await wait(() => link.hasAttribute("aria-current"));
    found.cases[link.hash.slice(1)] = [page.getElementById("see").textContent,
      view.eval("Page.settings()"), page.documentElement.scrollWidth];
  }
  if (page.getElementById("run").textContent === "Pause") click("run");
  if (frame.id === "trains") found.trained = view.eval(TRAIN)(found.cases);
  found.errors = view.errors;
  return found;
}
window.onload = async () => {
  const result = {};
  for (const frame of document.querySelectorAll("iframe")) {
    result[frame.width] = await Promise.race([seen(frame), new Promise((done) => setTimeout(
      () => done({errors: ["too slow", ...frame.contentWindow.errors]}), 60000))]);
    frame.remove();
  }
  fetch("/", {method: "POST", body: JSON.stringify(result)});
};
"""
# What a page would print on the console.
ERRORS = """<script>
window.errors = [];
window.addEventListener("error", (event) => errors.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...said) => errors.push(said.join(" "));
</script>"""

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is on the PATH")


def opened(pages, folder):
    """Return what the page at "/" sends, as JSON, when a browser without a screen opens it."""
    sent = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(pages.get(self.path, "").encode())

        def do_POST(self):
            sent.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"")

        def answer(self, content):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *said):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--window-size=1800,1000",
                "--no-first-run",
                f"--user-data-dir={folder}",
                f"http://127.0.0.1:{server.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return json.loads(sent.get(timeout=240))
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # the browser and the processes it started
            browser.wait()
            server.shutdown()


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what the script has seen at the width of a phone and at that of a desk."""
    page = play_page.page().replace("<head>", "<head>" + ERRORS, 1)
    address = "/page#good-settings"
    frames = "".join(
        f'<iframe id="{name}" width="{width}" height="900" src="{address}"></iframe>'
        for name, width in (("trains", 390), ("looks", 1280))
    )
    scripts = f"<script>const TRAIN = {json.dumps(TRAIN)};{DRIVER}</script>"
    driver = f"<!DOCTYPE html><html><head>{scripts}</head><body>{frames}</body></html>"
    return opened({"/": driver, "/page": page}, tmp_path_factory.mktemp("browser"))


@needs_browser
@pytest.mark.parametrize("width", ["390", "1280"])
def test_the_page_works(seen, width):
    found = seen[width]
    assert found["errors"] == []
    assert found["opened"] == "#good-settings"  # as the address says
    assert found["paused"][0] >= 40 and found["paused"][1] == "Go on"
    assert found["stepped"] == found["paused"][0] + 1
    assert len(found["figures"]) == 8
    assert all(re.fullmatch(r"[\d.]+%?|–", text) for text in found["figures"])
    assert found["restarted"] == [0, "Run"] and found["same"]
    assert found["shifted"][0] != found["shifted"][1] and found["shifted"][2] == 10


@needs_browser
@pytest.mark.parametrize("width", ["390", "1280"])
def test_nothing_is_wider_than_the_page(seen, width):
    found = seen[width]
    assert found["wide"][0] <= found["wide"][1] <= int(width)
    assert all(wide <= found["wide"][1] for *_, wide in found["cases"].values())
    assert all(within for *_, within in found["controls"])


@needs_browser
def test_canvases_are_drawn_on_and_controls_have_names_and_keys(seen):
    for found in seen.values():
        assert len(found["drawn"]) == 8 and all(shades > 3 for shades in found["drawn"])
        assert len(found["controls"]) >= 14
        assert all(named and tab == 0 for _, named, tab, _ in found["controls"])


@needs_browser
def test_each_case_sets_the_controls_and_says_what_to_see(seen):
    found = seen["390"]["cases"]
    assert list(found) == [name for name, _ in CASES]
    assert len({said for said, *_ in found.values()}) == len(CASES)
    settings = [json.dumps(given) for _, given, _ in found.values()]
    assert len(set(settings)) == len(CASES)


# What the sentence of each case says about the accuracies and the gradients of A and B.
SAID = {
    "small-first-weights": lambda a, b: a["testAccuracy"] > 0.95 and b["testAccuracy"] < 0.35,
    "high-learning-rate": lambda a, b: a["testAccuracy"] > 0.95 and b["testAccuracy"] < 0.8,
    "six-layers-of-sigmoids": lambda a, b: a["testAccuracy"] > 0.85 and b["testAccuracy"] < 0.5,
    "good-settings": lambda a, b: a["testAccuracy"] > 0.98 and b["testAccuracy"] > 0.98,
    "sixteen-layers": lambda a, b: 1.14 < growth(a) < 1.28 and 0.9 < growth(b) < 1.1,
    "batch-of-2": lambda a, b: (
        a["testAccuracy"] < 0.55
        and b["testAccuracy"] > 0.8
        and a["gradients"][0] < 1e-4 * b["gradients"][0]
    ),
    "one-class-a-batch": lambda a, b: (
        a["accuracy"] > 0.98 and a["testAccuracy"] < 0.6 and b["testAccuracy"] > 0.95
    ),
    "shift-at-test-time": lambda a, b: a["testAccuracy"] < 0.7 and b["testAccuracy"] > 0.95,
}


def growth(network):
    """Return the factor by which gradients grow in each hidden layer with 16 inputs, in the
    backward pass.
    """
    _, first, *between, last, _ = network["gradients"]
    return (first / last) ** (1 / (len(between) + 1))


@needs_browser
@pytest.mark.parametrize("name", SAID)
def test_what_a_case_says_comes_true(seen, name):
    a, b = seen["390"]["trained"][name]
    assert SAID[name](a, b), (a, b)


def test_there_is_a_test_of_each_case():
    assert list(SAID) == [name for name, _ in CASES]


# --------------------------------------------------------------------------------- the source


def test_the_page_is_self_contained():
    page = play_page.page()
    assert not re.findall(r'(?:src|href)="(?!#|[\w-]+\.html)[^"]*"', page)
    assert "http" not in page and "@import" not in page and "url(" not in page
    assert "fetch(" not in page and "XMLHttpRequest" not in page
    assert len(page) < 100_000


def test_scripts_stay_whole_inside_the_page():
    """No text in them ends the element that they are in."""
    for path in play_page.SOURCE.parent.glob("*.js"):
        assert "</" not in path.read_text(encoding="utf-8")
    page = play_page.page()
    assert (
        page.count("<script>") == page.count("</script>") == len(play_page.SCRIPT.findall(SOURCE))
    )


def test_links_lead_to_pages_of_the_project():
    links = re.findall(r'href="(\.\./[^"#]+)', SOURCE)
    assert links
    for link in links:
        if link.endswith(".md"):
            assert f"docs/{link[3:]}" in build_site.pages(), link
    for link in re.findall(r'href="([\w-]+\.html)', play_page.page()):
        assert link.replace(".html", ".md") in build_site.pages().values(), link


@pytest.mark.parametrize("name, settings", CASES)
def test_a_case_has_settings_that_the_controls_have(name, settings):
    for pair in filter(None, settings.split("&")):
        control, value = pair.split("=")
        slider = re.search(rf'name="{control}"[^>]*\sdata-values="([^"]*)"', SOURCE)
        select = re.search(rf'<select id="{control}".*?</select>', SOURCE, re.S)
        known = slider[1].split() if slider else re.findall(r'value="([^"]*)"', select[0])
        assert value in known, pair


def test_addresses_of_cases_are_the_anchors_of_their_headings():
    """Links from the documentation to a case are then found, and start it."""
    found = play_page.CASE.findall(SOURCE)
    assert [name for name, *_ in found] == [name for name, _ in CASES]
    for name, heading, said in found:
        assert name == heading.lower().replace(" ", "-")
        assert said.strip().endswith(".") and len(said.split()) > 8
    stand_in = play_page.stand_in()
    assert stand_in.startswith("# Batch normalization to play with\n")
    assert all(f"## {heading}\n" in stand_in for _, heading, _ in found)
    assert "&" not in stand_in


def test_colours_are_those_of_the_labs_plots():
    style = (play_page.SOURCE.parent / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--[cde]): (#\w{6})", part))
        for part in style.split("prefers-color-scheme")
    )
    assert light == {name: svg.LIGHT[name] for name in light} and len(light) == 3
    assert dark == {name: svg.DARK[name] for name in light}


def test_files_are_short():
    for path in play_page.SOURCE.parent.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 400 and max(map(len, lines)) <= 100, path.name
