// A training, and what is measured of it.
"use strict";

const Runs = (() => {
  const REACH = 2.4;        // the plane is shown from -REACH to REACH
  const RECORDS = 120;      // of a history; a longer one keeps every second
  const CHUNK = 256;        // points of the plane that are computed at a time

  // Settings: data, norm ("none", "batch", "batch-test", "layer", "group"), depth, activation,
  // batch, rate, scale, sorted, seed. "batch-test" is batch normalization that uses the statistics
  // of all test points together when it is tested. All that is random depends on the seed alone, so
  // that two trainings which differ in their normalization have the same data, first weights and
  // batches.
  class Run {
    constructor(settings) {
      const norm = settings.norm === "batch-test" ? "batch" : settings.norm;
      const random = (stream) => new Points.Random(4 * settings.seed + stream);
      this.rate = settings.rate;
      this.mode = settings.norm === "batch-test" ? "batch" : "running";
      this.train = Points.points(settings.data, random(0));
      this.test = Points.points(settings.data, random(1));
      this.network = new Play.Network({...settings, norm, classes: this.train.classes}, random(2));
      this.batches = new Points.Batches(this.train, settings.batch, settings.sorted, random(3));
      this.steps = 0;
      this.diverged = false;
      this.every = 10;      // steps from a record to the next
      this.history = [];
      this.recent = [];     // the batches since the last record
      this.batch = this.batches.next();
      this.look();
      this.shift(0, 1);
    }

    // What the first step will see, without taking it.
    look() {
      const {x, labels} = this.batch, found = this.network.gradients(x, labels, "batch");
      this.recent.push({loss: found.loss, accuracy: found.right / labels.length});
      this.remember();
    }

    step() {
      if (this.diverged) return;
      const {x, labels} = this.batch, found = this.network.gradients(x, labels);
      this.diverged = !(found.loss < Play.LARGE);
      if (this.diverged) return;
      this.recent.push({loss: found.loss, accuracy: found.right / labels.length});
      this.remember();
      this.network.update(this.rate);
      this.batch = this.batches.next();
      this.steps += 1;
      if (this.steps % this.every === 0) this.record();
    }

    // The layers as the training has just seen them.
    remember() {
      this.hidden = this.network.hidden;
      this.gradientNorms = this.network.gradientNorms;
    }

    // Other test inputs; the last record is of them.
    shift(offset, contrast) {
      this.shifted = Points.shifted(this.test.x, offset, contrast);
      const last = this.last;
      if (last && last.step === this.steps) Object.assign(last, this.tested());
      else this.record();
    }

    get last() {
      return this.history[this.history.length - 1];
    }

    // How the network stands: the mean loss and accuracy of the batches since the last record, as
    // the training saw them, and those of all test points.
    record() {
      const {recent} = this;
      const mean = (name) => recent.reduce((sum, batch) => sum + batch[name], 0) / recent.length;
      this.history.push({step: this.steps, loss: mean("loss"), accuracy: mean("accuracy"),
                         ...this.tested()});
      this.recent = [];
      if (this.history.length > RECORDS) {
        this.every *= 2;
        this.history = this.history.filter((one) => one.step % this.every === 0);
      }
    }

    tested() {
      const {labels} = this.test;
      const {loss, right} = this.network.evaluate(this.shifted, labels, this.mode);
      this.testHidden = this.network.hidden;
      return {testLoss: loss, testAccuracy: right / labels.length};
    }

    // The probabilities of the classes at size x size places of the plane, from its top left.
    field(size) {
      const {network, mode} = this, classes = network.classes;
      const places = new Float64Array(2 * size * size);
      for (let k = 0; k < size * size; k++) {
        places[2 * k] = REACH * ((2 * (k % size) + 1) / size - 1);
        places[2 * k + 1] = REACH * (1 - (2 * Math.floor(k / size) + 1) / size);
      }
      if (mode === "batch") network.forward(this.shifted, mode);
      const result = new Float64Array(size * size * classes);
      for (let start = 0; start < size * size; start += CHUNK) {
        const chunk = places.subarray(2 * start, 2 * (start + CHUNK));
        result.set(Play.probabilities(
          network.forward(chunk, mode === "batch" ? "last" : "running"), classes), start * classes);
      }
      return result;
    }
  }

  function rms(values) {
    return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  }

  // The share of the values in each of so many bins; the outer ones hold what lies beyond, too.
  // What is no number has no place.
  function histogram(values, bins, low, high) {
    const shares = new Float64Array(bins);
    for (const value of values) {
      const place = Math.floor((value - low) / (high - low) * bins);
      shares[Math.min(bins - 1, Math.max(0, place))] += 1 / values.length;
    }
    return shares;
  }

  return {Run, rms, histogram, REACH};
})();
