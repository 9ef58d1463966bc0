"""Schedules and optax chains."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from nmt.config import Config


def make_schedule(config: Config) -> optax.Schedule:
    """Makes the learning rate, a function of the number of steps already taken.

    It grows linearly over the warm-up. Then "inverse_sqrt" is, with the paper's peak,
    D^-0.5 · min(step^-0.5, step · warmup^-1.5) (Vaswani et al. 2017, section 5.3, equation 3),
    steps counted from 1; "linear" falls in a line that reaches zero after the last step; "constant"
    stays at the peak.
    """
    optimizer = config.optimizer
    warmup, num_steps = optimizer.warmup_steps, config.training.num_steps
    peak = optimizer.learning_rate or (config.model.emb_dim * warmup) ** -0.5

    def schedule(count: Int[ArrayLike, ""]) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32) + 1
        if optimizer.schedule == "inverse_sqrt":
            falling = jnp.sqrt(warmup / step)
        elif optimizer.schedule == "constant":
            falling = jnp.ones(())
        else:
            falling = (num_steps + 1 - step) / (num_steps + 1 - warmup)
        return peak * jnp.minimum(step / warmup, falling)

    return schedule


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Makes Adam or AdaDelta with the schedule, behind clipping where it is asked for.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; Zeiler 2012,
    https://arxiv.org/abs/1212.5701. Weight decay is decoupled from the moments (Loshchilov and
    Hutter 2019), and is multiplied by the learning rate. It takes from every parameter, those of
    normalisation too: what no gradient holds up vanishes.
    """
    optimizer, schedule = config.optimizer, make_schedule(config)
    eps, decay = optimizer.epsilon, optimizer.weight_decay
    if optimizer.algorithm == "adam":
        rule = optax.adamw(
            schedule, b1=optimizer.beta1, b2=optimizer.beta2, eps=eps, weight_decay=decay
        )
    else:
        rule = optax.chain(
            optax.scale_by_adadelta(rho=optimizer.beta2, eps=eps),
            optax.add_decayed_weights(decay),
            optax.scale_by_learning_rate(schedule),
        )
    if optimizer.clip_norm is None:
        return rule
    return optax.chain(optax.clip_by_global_norm(optimizer.clip_norm), rule)
