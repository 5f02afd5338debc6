// The page: controls, cases, and the loop that trains both networks and draws them.
"use strict";

const Page = (() => {
  const NETWORKS = ["a", "b"];
  const LIMIT = 3000;           // steps after which the training waits for the reader
  const PER_FRAME = 4;          // steps between two pictures, at most
  const BUDGET = 9;             // milliseconds that they may take
  const FIELD = 48;             // places of a field, each way
  const BINS = 48, EXTENT = 4;  // of the histograms
  const HISTOGRAMS = 8;         // layers that have one, at most
  const HEIGHT = 210;           // of a plot, in pixels

  const NAMES = {"none": "no normalization", "batch-test": "batch norm, also in tests"};

  const element = (id) => document.getElementById(id);
  const all = (selector) => document.querySelectorAll(selector);
  const form = element("settings");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  let runs = {};
  let running = false, target = LIMIT, frames = 0, waiting = 0;
  let ranges = {};              // of the plots: while a training goes on they only grow

  // ---------------------------------------------------------------------------------- controls

  const values = (input) => input.dataset.values.split(" ");
  const value = (input) => (input.dataset.values ? values(input)[input.value] : input.value);

  // The settings as the controls have them.
  function settings() {
    const given = Object.fromEntries([...form.elements].filter((one) => one.name)
      .map((input) => [input.name, value(input)]));
    for (const name of ["depth", "scale", "batch", "rate", "offset", "contrast", "seed"]) {
      given[name] = Number(given[name]);
    }
    return given;
  }

  // The controls of a case: those that it does not name are as the page has them at first.
  function choose(given) {
    form.reset();
    for (const [name, wanted] of new URLSearchParams(given)) {
      const input = form.elements[name];
      input.value = input.dataset.values ? values(input).indexOf(wanted) : wanted;
    }
  }

  // What sliders stand at, in words, and the names of the networks.
  function describe() {
    for (const input of form.querySelectorAll("[data-values]")) {
      const text = value(input).replace("-", "−") + (input.id === "scale" ? " × He’s" : "");
      input.labels[0].querySelector("span").textContent = text;
      input.setAttribute("aria-valuetext", text);
    }
    for (const span of all("[data-name]")) {
      const kind = value(element(span.dataset.name));
      span.textContent = NAMES[kind] || `${kind} norm`;
    }
  }

  // ---------------------------------------------------------------------------------- training

  const steps = () => Math.max(...NETWORKS.map((name) => runs[name].steps));
  const over = () => NETWORKS.every((name) => runs[name].diverged) || steps() >= target;

  function restart() {
    const given = settings();
    if (!Number.isInteger(given.seed)) return;
    runs = Object.fromEntries(NETWORKS.map((name) => [name, new Runs.Run(
      {...given, norm: given[name], sorted: given.order === "sorted"})]));
    target = LIMIT;
    ranges = {};
    shift();
  }

  // From the first step on; a training that has come to its end runs again.
  function again() {
    const ended = over();
    restart();
    if (ended) go();
  }

  function shift() {
    const {offset, contrast} = settings();
    for (const name of NETWORKS) runs[name].shift(offset, contrast);
    draw();
  }

  function step() {
    for (const name of NETWORKS) runs[name].step();
  }

  function frame() {
    waiting = 0;
    if (!running) return;
    const end = performance.now() + BUDGET;
    for (let k = 0; k < PER_FRAME && !over() && performance.now() < end; k++) step();
    frames += 1;
    if (over()) pause();
    else {
      if (frames % 3 === 0) drawLines();
      if (frames % 8 === 1) drawField(NETWORKS[frames % 16 === 1 ? 0 : 1]);
      waiting = requestAnimationFrame(frame);
    }
  }

  function go() {
    if (over()) target = steps() + LIMIT;
    running = true;
    drawLines();
    if (!waiting) waiting = requestAnimationFrame(frame);
  }

  function pause() {
    running = false;
    draw();
  }

  // ----------------------------------------------------------------------------------- drawing

  function draw() {
    drawLines();
    for (const name of NETWORKS) drawField(name);
  }

  function drawLines() {
    element("steps").textContent = steps().toLocaleString("en");
    element("run").textContent = running ? "Pause" : steps() ? "Go on" : "Run";
    drawNumbers();
    drawCurves();
    drawLayers();
    for (const name of NETWORKS) drawHistograms(name);
  }

  function drawNumbers() {
    for (const cell of all("[data-figure]")) {
      const [name, figure] = cell.dataset.figure.split(" "), found = runs[name].last[figure];
      cell.textContent = !Number.isFinite(found) ? "–"
        : figure.toLowerCase().includes("accuracy") ? `${(100 * found).toFixed(1)}%`
          : found.toPrecision(3).slice(0, 6);
    }
    for (const line of all("[data-state]")) {
      const run = runs[line.dataset.state];
      line.textContent = run.diverged ? `diverged at step ${run.steps + 1}` : "";
    }
  }

  // Both networks' lines: solid ones of the training, dashed ones of the test. Where they are the
  // same, B's leave the edges of A's.
  function pairs(points) {
    return NETWORKS.flatMap((name) => points(runs[name]).map((line, k) => (
      {points: line, colour: `--${name}`, width: name === "a" ? 2.8 : 1.4, dashed: k === 1,
       dots: line.length === 1})));
  }

  function drawCurves() {
    const x = {name: "training steps", low: 0, high: Math.max(100, steps())};
    const both = (name, test, times = 1) => pairs((run) => [name, test].map(
      (figure) => run.history.map((one) => [one.step, times * one[figure]])));
    const losses = both("loss", "testLoss");
    const y = {...range("loss", losses, 0.1, 3, 1e-4, 1e2), name: "loss (nats)"};
    Plots.lines(element("loss"), HEIGHT, {x, y}, losses);
    Plots.lines(element("accuracy"), HEIGHT, {x, y: {name: "right (%)", low: 0, high: 100}},
                both("accuracy", "testAccuracy", 100));
  }

  // A logarithmic axis for lines, of whole powers of ten.
  function range(name, drawn, low, high, least, most) {
    const seen = drawn.flatMap((line) => line.points.map((point) => point[1]))
      .filter((y) => Number.isFinite(y) && y > 0);
    const before = ranges[name] || {low, high};
    const found = {low: Math.max(least, Math.min(before.low, 10 ** Math.floor(Math.log10(
                     seen.reduce((a, b) => Math.min(a, b), before.low))))),
                   high: Math.min(most, Math.max(before.high, 10 ** Math.ceil(Math.log10(
                     seen.reduce((a, b) => Math.max(a, b), before.high)))))};
    ranges[name] = found;
    return {...found, logarithmic: true};
  }

  function drawLayers() {
    const numbered = (numbers) => numbers.map((y, k) => [k + 1, y]);
    const spread = pairs((run) => [numbered(run.hidden.map(Runs.rms)),
                                   numbered(run.testHidden.map(Runs.rms))]);
    const norms = pairs((run) => [numbered(run.gradientNorms)]);
    const plot = (id, drawn, name, count) => Plots.lines(element(id), HEIGHT, {
      x: {name: "layer, from the input", low: 1, high: Math.max(2, count), ticks: layers(count)},
      y: {...range(id, drawn, 0.1, 10, 1e-12, 1e12), name},
    }, drawn.map((line) => ({...line, dots: !line.dashed})));
    const depth = runs.a.hidden.length;
    plot("activations", spread, "root mean square", depth);
    plot("gradients", norms, "norm", depth + 1);
  }

  // Some of so many layers, for an axis: all, or every second, fourth, ...
  function layers(count, most = 9) {
    const apart = 2 ** Math.max(0, Math.ceil(Math.log2(count / most)));
    return Array.from({length: Math.ceil(count / apart)}, (_, k) => 1 + k * apart);
  }

  function drawHistograms(name) {
    const {hidden, testHidden} = runs[name];
    const shares = (x) => Runs.histogram(x, BINS, -EXTENT, EXTENT);
    const rows = layers(hidden.length, HISTOGRAMS).map((layer) => (
      {name: String(layer), filled: shares(hidden[layer - 1]),
       outlined: shares(testHidden[layer - 1])}));
    Plots.histograms(element(`histogram-${name}`), rows, -EXTENT, EXTENT, `--${name}`);
  }

  function drawField(name) {
    const run = runs[name];
    Plots.field(element(`field-${name}`),
                {probabilities: run.field(FIELD), size: FIELD, classes: run.test.classes},
                run.shifted, run.test.labels, Runs.REACH);
  }

  // ------------------------------------------------------------------------------------- cases

  const links = [...element("cases").querySelectorAll("a")];

  function mark(link) {
    for (const one of links) one.removeAttribute("aria-current");
    if (link) link.setAttribute("aria-current", "true");
  }

  // What a case says holds for its own settings.
  function leaveCase() {
    const link = links.find((one) => one.hasAttribute("aria-current"));
    if (!link) return;
    mark(null);
    element("see").textContent = "These are settings of your own. "
      + `“${link.textContent}” brings back those of the case.`;
  }

  // Begin the case of an address, "#shift"; the first one if there is none of that name.
  function openCase(address) {
    const link = links.find((one) => one.hash === address) || links[0];
    mark(link);
    element("see").textContent = link.nextElementSibling.textContent;
    choose(link.dataset.settings);
    describe();
    restart();
    if ("wait" in link.dataset || still.matches) pause();
    else go();
  }

  function listen() {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      describe();
      leaveCase();
      if ("restart" in event.target.dataset) again();
      else shift();
    });
    for (const link of links) {
      link.addEventListener("click", () => {    // of the case that the address has already
        if (link.hash === window.location.hash) openCase(link.hash);
      });
    }
    window.addEventListener("hashchange", () => openCase(window.location.hash));
    element("run").addEventListener("click", () => (running ? pause() : go()));
    element("step").addEventListener("click", () => {
      step();
      pause();
    });
    element("restart").addEventListener("click", again);
    window.addEventListener("resize", draw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      Plots.readStyle();
      draw();
    });
  }

  function begin() {
    for (const input of form.querySelectorAll("[data-values]")) {
      input.min = 0;
      input.max = values(input).length - 1;
      input.step = 1;
    }
    Plots.readStyle();
    listen();
    openCase(window.location.hash);
  }

  begin();
  return {settings};
})();
