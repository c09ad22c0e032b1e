"""TensorFlow, with Adam written out so that XLA fuses it. Modes:

loop  the whole epoch, shuffle included, as one tf.function around a step that XLA compiled
step  one call of the compiled step for each batch

bf16 casts the operands of products to bfloat16.
"""

import os

import common

flags = common.flags(__doc__, ["loop", "step"])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.random.set_seed(0)
rows = common.load(flags.data)
inputs, batch = rows.shape[1], flags.batch_size
run = common.Run("tensorflow", tf.__version__, flags, len(rows))
number = len(rows)
rows = tf.constant(rows)


def glu(h):
    value, gate = tf.split(h, 2, axis=-1)
    return value * tf.sigmoid(gate)


nonlinear = {"relu": tf.nn.relu, "tanh": tf.tanh, "gated": glu}[flags.layer]
variable = lambda layer: tuple(tf.Variable(a) for a in layer)
encoder, head, decoder = common.initial(flags, inputs)
encoder, head, decoder = [variable(l) for l in encoder], variable(head), [variable(l) for l in decoder]
parameters = [a for layer in (*encoder, head, *decoder) for a in layer]
first = [tf.Variable(tf.zeros_like(p)) for p in parameters]
second = [tf.Variable(tf.zeros_like(p)) for p in parameters]
t, total = tf.Variable(0.0), tf.Variable(0.0)


def affine(x, layer):
    weight, bias = layer
    if flags.precision == "bf16":
        return tf.cast(tf.cast(x, tf.bfloat16) @ tf.cast(weight, tf.bfloat16), tf.float32) + bias
    return x @ weight + bias


def loss(x):
    """The mean −ELBO of a batch, but for the likelihood's constant."""
    h = x
    for layer in encoder:
        h = nonlinear(affine(h, layer))
    mean, log_variance = tf.split(affine(h, head), 2, axis=-1)
    h = mean + tf.random.normal(tf.shape(mean)) * tf.exp(0.5 * log_variance)
    for layer in decoder[:-1]:
        h = nonlinear(affine(h, layer))
    out = affine(h, decoder[-1])
    if flags.likelihood == "gaussian":
        reconstruction = 0.5 * tf.reduce_sum(tf.square(out - x))
    else:
        reconstruction = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=out))
    kl = -0.5 * tf.reduce_sum(1 + log_variance - tf.square(mean) - tf.exp(log_variance))
    return (reconstruction + kl) / batch


@tf.function(jit_compile=True, input_signature=[tf.TensorSpec([batch], tf.int32)])
def step(index):
    x = tf.gather(rows, index)
    with tf.GradientTape() as tape:
        value = loss(x)
    t.assign_add(1.0)
    total.assign_add(value)
    size, scale = flags.learning_rate / (1 - 0.9**t), 1 / (1 - 0.999**t)
    for p, m, v, g in zip(parameters, first, second, tape.gradient(value, parameters)):
        m.assign(0.9 * m + 0.1 * g)
        v.assign(0.999 * v + 0.001 * g * g)
        p.assign_sub(size * m / (tf.sqrt(v * scale) + flags.epsilon))


def shuffled():
    return tf.reshape(tf.random.shuffle(tf.range(number, dtype=tf.int32))[: run.rows], (run.steps, batch))


@tf.function
def loop():
    order = shuffled()
    for i in tf.range(run.steps):
        step(order[i])


def steps():
    for index in tf.unstack(shuffled()):
        step(index)
        run.first_step()


for epoch in run.epochs():
    total.assign(0.0)
    loop() if flags.mode == "loop" else steps()
    run.loss((float(total) + run.steps * common.constant(flags, inputs)) * batch)
    # The steps of a loop have no end of their own: its result is there when the epoch is.
    run.first_step()
run.report()
