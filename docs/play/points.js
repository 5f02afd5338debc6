// What is learned: points in the plane, drawn by a generator of random numbers whose seed is
// given, so that the same settings give the same numbers; and the batches of a training.
"use strict";

const Points = (() => {
  const COUNT = 384;        // of training points, and of test points

  // Xorshift (Marsaglia 2003), 32 bits.
  class Random {
    constructor(seed) {
      this.state = Math.imul(seed + 1, 2654435761) | 0 || 1;
      for (let k = 0; k < 20; k++) this.uniform();     // small seeds begin alike
    }

    // In (0, 1).
    uniform() {
      this.state ^= this.state << 13;
      this.state ^= this.state >>> 17;
      this.state ^= this.state << 5;
      return (this.state >>> 0) / 2 ** 32;
    }

    // Of mean 0 and standard deviation 1 (Box & Muller 1958).
    normal() {
      return Math.sqrt(-2 * Math.log(this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
    }

    // The items in random order.
    shuffled(items) {
      const result = Array.from(items);
      for (let k = result.length - 1; k > 0; k--) {
        const other = Math.floor(this.uniform() * (k + 1));
        [result[k], result[other]] = [result[other], result[k]];
      }
      return result;
    }
  }

  // Each data set: its classes, and a point of one of them, t of the way along it.
  const SHAPES = {
    spirals: {classes: 3, point: (label, t) => {
      const angle = 2 * Math.PI * (label / 3 + 0.8 * t), radius = 0.2 + 1.4 * t;
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    }},
    moons: {classes: 2, point: (label, t) => {
      const side = label ? -1 : 1;
      return [side * (Math.cos(Math.PI * t) - 0.5), side * (Math.sin(Math.PI * t) - 0.25)];
    }},
    rings: {classes: 3, point: (label, t) => {
      const radius = 0.3 + 0.6 * label;
      return [radius * Math.cos(2 * Math.PI * t), radius * Math.sin(2 * Math.PI * t)];
    }},
  };

  // Points {x, labels, classes}, with a little noise; as many of each class.
  function points(name, random, noise = 0.08) {
    const {classes, point} = SHAPES[name], x = new Float64Array(2 * COUNT);
    const labels = Int32Array.from({length: COUNT}, (_, k) => k % classes);
    labels.forEach((label, k) => {
      const place = point(label, random.uniform());
      x[2 * k] = place[0] + noise * random.normal();
      x[2 * k + 1] = place[1] + noise * random.normal();
    });
    return {x, labels, classes};
  }

  // Another place and another spread of the same points, as of pictures that are brighter or have
  // more contrast.
  function shifted(x, offset, contrast) {
    return x.map((value) => contrast * value + offset);
  }

  // Batches without end: each epoch in a new random order, a smaller last batch left out. `sorted`:
  // each batch from one class, the batches in random order.
  class Batches {
    constructor(set, size, sorted, random) {
      Object.assign(this, {set, size, sorted, random, waiting: []});
    }

    next() {
      if (!this.waiting.length) this.waiting = this.epoch();
      const {x, labels} = this.set, chosen = this.waiting.pop();
      return {x: Float64Array.from(chosen.flatMap((k) => [x[2 * k], x[2 * k + 1]])),
              labels: Int32Array.from(chosen, (k) => labels[k])};
    }

    epoch() {
      const {labels, classes} = this.set, order = this.random.shuffled(labels.keys());
      const parts = !this.sorted ? [order]
        : Array.from({length: classes}, (_, label) => order.filter((k) => labels[k] === label));
      const batches = [];
      for (const part of parts) {
        for (let start = 0; start + this.size <= part.length; start += this.size) {
          batches.push(part.slice(start, start + this.size));
        }
      }
      return this.random.shuffled(batches);
    }
  }

  return {Random, Batches, points, shifted, COUNT};
})();
