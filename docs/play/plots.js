// Draws on canvases, in the colours of the page's style, as wide as the page gives them.
"use strict";

const Plots = (() => {
  const CLASSES = ["--c", "--d", "--e"];
  const MARGIN = {left: 46, right: 12, top: 24, bottom: 36};

  // A colour of the style, by the name of its variable.
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The context of a canvas, cleared; units are those of the page, whatever the screen.
  function cleared(canvas, height) {
    const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return {context, width, height};
  }

  // Round numbers between low and high: 1, 2 or 5 times a power of ten apart, or powers of ten.
  function ticks(low, high, logarithmic, most) {
    if (logarithmic) {
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
      const apart = Math.max(1, Math.ceil((last - first) / most));
      return Array.from({length: Math.floor((last - first) / apart) + 1},
                        (_, k) => 10 ** (first + k * apart));
    }
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const apart = power * [1, 2, 5, 10].find((times) => times * power >= rough * (1 - 1e-9));
    const first = Math.ceil(low / apart - 1e-9), last = Math.floor(high / apart + 1e-9);
    return Array.from({length: last - first + 1}, (_, k) => (first + k) * apart);
  }

  const SUPERSCRIPTS = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷",
                        8: "⁸", 9: "⁹"};

  // A number as an axis has it: 0.01, 2,000, 10⁻⁵.
  function label(value) {
    if (value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e5)) {
      return "10" + [...String(Math.round(Math.log10(Math.abs(value))))]
        .map((sign) => SUPERSCRIPTS[sign]).join("");
    }
    return Number(value.toPrecision(6)).toLocaleString("en", {maximumFractionDigits: 3})
      .replace("-", "−");
  }

  // Axes with their names: {x: {name, low, high, ticks}, y: {name, low, high, logarithmic}}. It
  // returns the places of values on them; values beyond an end are drawn at it.
  function axes(context, width, height, {x, y}) {
    const left = MARGIN.left, right = width - MARGIN.right;
    const top = MARGIN.top, bottom = height - MARGIN.bottom;
    const place = (axis, from, to) => (value) => {
      const along = axis.logarithmic ? Math.log10 : (number) => number;
      const share = (along(value) - along(axis.low)) / (along(axis.high) - along(axis.low));
      return from + (to - from) * Math.min(1, Math.max(0, share));
    };
    const scales = {x: place(x, left, right), y: place(y, bottom, top), left, right, top, bottom};
    context.fillStyle = colour("--muted");
    context.lineWidth = 1;
    context.textAlign = "left";
    context.fillText(y.name, 0, 11);
    context.textAlign = "right";
    context.fillText(x.name, right, height - 4);
    context.strokeStyle = colour("--rule");
    context.beginPath();
    for (const value of ticks(y.low, y.high, y.logarithmic, 5)) {
      context.moveTo(left, scales.y(value));
      context.lineTo(right, scales.y(value));
      context.fillText(label(value), left - 6, scales.y(value) + 4);
    }
    context.stroke();
    context.textAlign = "center";
    for (const value of x.ticks || ticks(x.low, x.high, false, width < 420 ? 4 : 6)) {
      context.fillText(label(value), scales.x(value), bottom + 16);
    }
    return scales;
  }

  // Lines over axes: [{points: [[x, y]], colour, width, dashed, dots}]. What is no number is left
  // out.
  function lines(canvas, height, scale, drawn) {
    const {context, width} = cleared(canvas, height);
    const scales = axes(context, width, height, scale);
    for (const {points, colour: name, width: thick, dashed, dots} of drawn) {
      context.strokeStyle = context.fillStyle = colour(name);
      context.lineWidth = thick;
      context.setLineDash(dashed ? [5, 4] : []);
      context.beginPath();
      let before = false;
      for (const [x, y] of points) {
        const there = Number.isFinite(y);
        if (there) context[before ? "lineTo" : "moveTo"](scales.x(x), scales.y(y));
        before = there;
      }
      context.stroke();
      context.setLineDash([]);
      for (const [x, y] of dots ? points : []) {
        if (!Number.isFinite(y)) continue;
        context.beginPath();
        context.arc(scales.x(x), scales.y(y), 1.2 + thick / 2, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }

  // Red, green and blue of a colour that the style gives as #rrggbb.
  const parts = (name) => [1, 3, 5].map((k) => parseInt(colour(name).slice(k, k + 2), 16));

  // What a network says of each place, as mixtures of the classes' colours.
  function tinted(probabilities, size, classes) {
    const image = new ImageData(size, size), paper = parts("--paper");
    const tints = CLASSES.slice(0, classes).map(parts);
    for (let k = 0; k < size * size; k++) {
      for (let channel = 0; channel < 3; channel++) {
        let value = 0;
        for (let c = 0; c < classes; c++) {
          value += probabilities[k * classes + c] * tints[c][channel];
        }
        const mixed = 0.62 * paper[channel] + 0.38 * value;
        image.data[4 * k + channel] = Number.isFinite(mixed) ? mixed : paper[channel];
      }
      image.data[4 * k + 3] = 255;
    }
    const small = document.createElement("canvas");
    small.width = small.height = size;
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  // A field, and points on it: a class is told by its colour and by its shape.
  function field(canvas, {probabilities, size, classes}, x, labels, reach) {
    const side = canvas.clientWidth, {context} = cleared(canvas, side);
    context.drawImage(tinted(probabilities, size, classes), 0, 0, side, side);
    const place = (value) => (value / reach + 1) * side / 2, radius = side < 220 ? 1.8 : 2.5;
    labels.forEach((label, k) => {
      context.fillStyle = colours[label];
      context.beginPath();
      shape(context, label, place(x[2 * k]), place(-x[2 * k + 1]), radius);
      context.fill();
    });
  }

  let colours = [];         // of the classes; asking the style for each point would be slow

  function readStyle() {
    colours = CLASSES.map(colour);
  }

  // A circle, a square or a triangle.
  function shape(context, kind, x, y, radius) {
    if (kind === 0) context.arc(x, y, radius, 0, 2 * Math.PI);
    else if (kind === 1) context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    else {
      context.moveTo(x, y - 1.3 * radius);
      context.lineTo(x + 1.3 * radius, y + radius);
      context.lineTo(x - 1.3 * radius, y + radius);
    }
  }

  // Histograms above each other: [{name, filled: shares, outlined: shares}], each as high as a row.
  function histograms(canvas, rows, low, high, name) {
    const row = 30, left = 22, {context, width, height} = cleared(canvas, rows.length * row + 40);
    const right = width - 8, bins = rows[0].filled.length;
    const x = (bin) => left + (right - left) * bin / bins;
    rows.forEach(({name: layer, filled, outlined}, k) => {
      const base = (k + 1) * row, top = Math.max(...filled, ...outlined) || 1;
      const y = (share) => base - (row - 5) * share / top;
      context.fillStyle = context.strokeStyle = colour(name);
      context.globalAlpha = 0.45;
      filled.forEach((share, bin) => (
        context.fillRect(x(bin), y(share), x(1) - x(0), base - y(share))));
      context.globalAlpha = 1;
      context.lineWidth = 1.2;
      context.beginPath();
      outlined.forEach((share, bin) => {
        context.lineTo(x(bin), y(share));
        context.lineTo(x(bin + 1), y(share));
      });
      context.stroke();
      context.strokeStyle = colour("--rule");
      context.beginPath();
      context.moveTo(left, base + 0.5);
      context.lineTo(right, base + 0.5);
      context.stroke();
      context.fillStyle = colour("--muted");
      context.textAlign = "left";
      context.fillText(layer, 0, base - 4);
    });
    context.textAlign = "center";
    for (const value of ticks(low, high, false, 4)) {
      context.fillText(label(value), left + (right - left) * (value - low) / (high - low),
                       height - 22);
    }
    context.textAlign = "right";
    context.fillText("value", right, height - 4);
  }

  return {lines, field, histograms, readStyle, label};
})();
