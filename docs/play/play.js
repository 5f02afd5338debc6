// The numbers of the page: networks that are trained by plain stochastic gradient descent. Nothing
// here knows of the page; tests compare it with minidl, step by step. `points.js` has the data.
//
// A matrix is a Float64Array, row after row; a row is an example. Each layer has forward and
// backward side by side: forward keeps what backward needs, backward fills in the gradients of the
// layer's parameters and returns that of its input.
//
// A mode says which statistics a batch normalization uses: "train", those of the batch, and the
// running ones move; "batch", those of the batch; "last", those of the last batch that had a mode
// of these; "running", the running ones.
"use strict";

const Play = (() => {
  const EPS = 1e-5;         // added to each variance
  const MOMENTUM = 0.1;     // weight of the new batch in the running statistics
  const LARGE = 1e4;        // a loss above it is the end of a training
  const WIDTH = 16;         // units of each hidden layer
  const GROUPS = 4;         // of these units, for group normalization

  const zeros = (count) => new Float64Array(count);
  const parameter = (name, data) => ({name, data, grad: zeros(data.length)});

  // y = x W + b; W has a row for each input. Its weights are normal, of standard deviation `std`.
  class Dense {
    constructor(inputs, outputs, bias, std, random) {
      this.inputs = inputs;
      this.outputs = outputs;
      this.weight = parameter("weight",
        Float64Array.from({length: inputs * outputs}, () => std * random.normal()));
      this.bias = bias ? parameter("bias", zeros(outputs)) : null;
    }

    get parameters() {
      return this.bias ? [this.weight, this.bias] : [this.weight];
    }

    forward(x, rows) {
      const {inputs, outputs} = this, w = this.weight.data, y = zeros(rows * outputs);
      for (let r = 0; r < rows; r++) {
        const to = r * outputs;
        if (this.bias) y.set(this.bias.data, to);
        for (let i = 0; i < inputs; i++) {
          const value = x[r * inputs + i], from = i * outputs;
          for (let o = 0; o < outputs; o++) y[to + o] += value * w[from + o];
        }
      }
      this.x = x;
      return y;
    }

    backward(grad, rows) {
      const {inputs, outputs, x} = this, w = this.weight.data, result = zeros(rows * inputs);
      const weight = this.weight.grad.fill(0), bias = this.bias && this.bias.grad.fill(0);
      for (let r = 0; r < rows; r++) {
        const from = r * outputs;
        for (let i = 0; i < inputs; i++) {
          const value = x[r * inputs + i], place = i * outputs;
          let sum = 0;
          for (let o = 0; o < outputs; o++) {
            weight[place + o] += value * grad[from + o];
            sum += w[place + o] * grad[from + o];
          }
          result[r * inputs + i] = sum;
        }
        if (bias) for (let o = 0; o < outputs; o++) bias[o] += grad[from + o];
      }
      return result;
    }
  }

  // y = gamma (x - mean) / sqrt(var + eps) + beta, of each unit over the batch.
  class BatchNorm {
    constructor(features) {
      this.features = features;
      this.gamma = parameter("gamma", zeros(features).fill(1));
      this.beta = parameter("beta", zeros(features));
      this.running = {mean: zeros(features), variance: zeros(features).fill(1)};
      this.last = this.running;
    }

    get parameters() {
      return [this.gamma, this.beta];
    }

    forward(x, rows, mode) {
      if (mode === "train" || mode === "batch") this.last = moments(x, rows, this.features);
      if (mode === "train") this.move(rows);
      const {features} = this, {mean, variance} = mode === "running" ? this.running : this.last;
      const gamma = this.gamma.data, beta = this.beta.data;
      this.scale = variance.map((value) => 1 / Math.sqrt(value + EPS));
      this.normalized = zeros(rows * features);
      const y = zeros(rows * features);
      for (let r = 0, k = 0; r < rows; r++) {
        for (let c = 0; c < features; c++, k++) {
          this.normalized[k] = (x[k] - mean[c]) * this.scale[c];
          y[k] = gamma[c] * this.normalized[k] + beta[c];
        }
      }
      return y;
    }

    // The running statistics, which take in the unbiased variance.
    move(rows) {
      const {running, last} = this;
      for (let c = 0; c < this.features; c++) {
        running.mean[c] += MOMENTUM * (last.mean[c] - running.mean[c]);
        running.variance[c] += MOMENTUM * (last.variance[c] * rows / (rows - 1)
                                           - running.variance[c]);
      }
    }

    // The gradient flows through mean and variance too, which each example of the batch is part of.
    backward(grad, rows) {
      const {features, normalized, scale} = this, result = zeros(rows * features);
      sumGradients(this, grad, rows);
      for (let r = 0, k = 0; r < rows; r++) {
        for (let c = 0; c < features; c++, k++) {
          result[k] = this.gamma.data[c] * scale[c] * (grad[k] - (this.beta.grad[c]
            + normalized[k] * this.gamma.grad[c]) / rows);
        }
      }
      return result;
    }
  }

  // The same formula, of each example over the units of a group; one group is layer normalization.
  class GroupNorm {
    constructor(groups, features) {
      this.groups = groups;
      this.features = features;
      this.gamma = parameter("gamma", zeros(features).fill(1));
      this.beta = parameter("beta", zeros(features));
    }

    get parameters() {
      return [this.gamma, this.beta];
    }

    forward(x, rows) {
      const size = this.features / this.groups, y = zeros(x.length);
      const gamma = this.gamma.data, beta = this.beta.data;
      this.normalized = zeros(x.length);
      this.scale = zeros(rows * this.groups);
      for (let part = 0; part < this.scale.length; part++) {
        const start = part * size, first = part % this.groups * size;
        let mean = 0, variance = 0;
        for (let k = 0; k < size; k++) mean += x[start + k] / size;
        for (let k = 0; k < size; k++) variance += (x[start + k] - mean) ** 2 / size;
        this.scale[part] = 1 / Math.sqrt(variance + EPS);
        for (let k = 0; k < size; k++) {
          const normalized = (x[start + k] - mean) * this.scale[part];
          this.normalized[start + k] = normalized;
          y[start + k] = gamma[first + k] * normalized + beta[first + k];
        }
      }
      return y;
    }

    backward(grad, rows) {
      const {normalized, scale} = this, size = this.features / this.groups;
      const gamma = this.gamma.data, result = zeros(grad.length);
      sumGradients(this, grad, rows);
      for (let part = 0; part < scale.length; part++) {
        const start = part * size, first = part % this.groups * size;
        let sum = 0, product = 0;
        for (let k = 0; k < size; k++) {
          const own = gamma[first + k] * grad[start + k];
          sum += own;
          product += own * normalized[start + k];
        }
        for (let k = 0; k < size; k++) {
          result[start + k] = scale[part] * (gamma[first + k] * grad[start + k]
                                             - (sum + normalized[start + k] * product) / size);
        }
      }
      return result;
    }
  }

  // Mean and biased variance of each column.
  function moments(x, rows, features) {
    const mean = zeros(features), variance = zeros(features);
    for (let k = 0; k < x.length;) {
      for (let c = 0; c < features; c++, k++) mean[c] += x[k] / rows;
    }
    for (let k = 0; k < x.length;) {
      for (let c = 0; c < features; c++, k++) variance[c] += (x[k] - mean[c]) ** 2 / rows;
    }
    return {mean, variance};
  }

  // Those of gamma and beta, which are the same for every normalization.
  function sumGradients(norm, grad, rows) {
    const {features, normalized} = norm;
    const gamma = norm.gamma.grad.fill(0), beta = norm.beta.grad.fill(0);
    for (let r = 0, k = 0; r < rows; r++) {
      for (let c = 0; c < features; c++, k++) {
        gamma[c] += grad[k] * normalized[k];
        beta[c] += grad[k];
      }
    }
  }

  // Each nonlinearity, and its derivative as a function of what it returns.
  const FUNCTIONS = {
    relu: [(x) => (x > 0 ? x : 0), (y) => (y > 0 ? 1 : 0)],
    tanh: [Math.tanh, (y) => 1 - y * y],
    sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (y) => y * (1 - y)],
  };

  class Activation {
    constructor(kind) {
      [this.function, this.derivative] = FUNCTIONS[kind];
      this.parameters = [];
    }

    forward(x) {
      this.x = x;
      this.y = x.map(this.function);
      return this.y;
    }

    backward(grad) {
      return grad.map((value, k) => value * this.derivative(this.y[k]));
    }
  }

  // The mean cross-entropy of softmax(logits), its gradient, and how many answers are right.
  function crossEntropy(logits, labels, classes) {
    const rows = labels.length, gradient = probabilities(logits, classes);
    let loss = 0, right = 0;
    for (let r = 0; r < rows; r++) {
      const row = logits.subarray(r * classes, (r + 1) * classes), top = Math.max(...row);
      let sum = 0;
      for (const value of row) sum += Math.exp(value - top);
      loss += (Math.log(sum) + top - row[labels[r]]) / rows;
      right += row.indexOf(top) === labels[r] ? 1 : 0;
      gradient[r * classes + labels[r]] -= 1;
    }
    return {loss, right, gradient: gradient.map((value) => value / rows)};
  }

  // softmax(logits), row by row.
  function probabilities(logits, classes) {
    const result = zeros(logits.length);
    for (let start = 0; start < logits.length; start += classes) {
      const row = logits.subarray(start, start + classes), top = Math.max(...row);
      let sum = 0;
      for (let c = 0; c < classes; c++) sum += result[start + c] = Math.exp(row[c] - top);
      for (let c = 0; c < classes; c++) result[start + c] /= sum;
    }
    return result;
  }

  const NORMS = {
    none: () => [],
    batch: () => [new BatchNorm(WIDTH)],
    layer: () => [new GroupNorm(1, WIDTH)],
    group: () => [new GroupNorm(GROUPS, WIDTH)],
  };

  // `depth` hidden layers: dense, normalization, nonlinearity; then a dense layer to the logits.
  // Weights start as He's times `scale`, the same for every normalization. Before batch
  // normalization a bias would be in vain; before the others it is what the first layer needs to
  // tell how far from the centre a point is.
  class Network {
    constructor({norm, depth, activation, scale, classes}, random) {
      this.classes = classes;
      this.layers = [];
      for (let k = 0, inputs = 2; k < depth; k++, inputs = WIDTH) {
        this.layers.push(
          new Dense(inputs, WIDTH, norm !== "batch", scale * Math.sqrt(2 / inputs), random),
          ...NORMS[norm](), new Activation(activation));
      }
      this.layers.push(new Dense(WIDTH, classes, true, scale * Math.sqrt(2 / WIDTH), random));
    }

    get parameters() {
      return this.layers.flatMap((layer) => layer.parameters);
    }

    forward(x, mode) {
      const rows = x.length / 2;
      return this.layers.reduce((value, layer) => layer.forward(value, rows, mode), x);
    }

    // Loss and right answers of a batch; the gradients of the loss are then in the parameters.
    gradients(x, labels, mode = "train") {
      const found = crossEntropy(this.forward(x, mode), labels, this.classes);
      this.layers.reduceRight((grad, layer) => layer.backward(grad, labels.length),
                              found.gradient);
      return found;
    }

    // A step of gradient descent.
    update(rate) {
      for (const {data, grad} of this.parameters) {
        for (let k = 0; k < data.length; k++) data[k] -= rate * grad[k];
      }
    }

    evaluate(x, labels, mode) {
      return crossEntropy(this.forward(x, mode), labels, this.classes);
    }

    // What entered each nonlinearity in the last forward.
    get hidden() {
      return this.layers.filter((layer) => layer instanceof Activation).map((layer) => layer.x);
    }

    // The norm of the gradient of each dense layer's weights.
    get gradientNorms() {
      return this.layers.filter((layer) => layer instanceof Dense)
        .map((layer) => Math.hypot(...layer.weight.grad));
    }
  }

  return {Network, LARGE, probabilities};
})();
