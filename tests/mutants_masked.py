"""Deliberate errors in masked chains, orders and tokens, as the fields of `mutants.Mutant`."""

__all__ = ["MASKED"]

ORDERS = "tests/categorical/test_orders.py::test_"
CHAINS = "tests/categorical/test_masked.py::test_"
MODELS = "tests/tasks/test_masked_models.py::test_"
POSITIONS = "tests/tasks/test_positions.py::test_"
SIDES = "tests/tasks/test_order_bounds.py::test_"

MASKED = [
    (
        "high bits of a coordinate weigh most in a dispersed order",
        "categorical/orders.py",
        "for b in range(bits):",
        "for b in reversed(range(bits)):",
        (f"{ORDERS}the_first_pixels_of_a_dispersed_order_are_far_apart",),
    ),
    (
        "channels of a pixel revealed together",
        "categorical/orders.py",
        "(rank + later) % pixels",
        "rank + 0 * later",
        (f"{ORDERS}no_call_reveals_two_channels_of_a_pixel",),
    ),
    (
        "raster channel by channel",
        "categorical/orders.py",
        ".reshape(channels, -1).T.reshape(-1)",
        "",
        (f"{ORDERS}raster_has_the_channels_of_a_pixel_one_after_another",),
    ),
    (
        "an order that names a position twice is taken",
        "categorical/orders.py",
        "self.positions.bincount(minlength=D) > 1",
        "self.positions.bincount(minlength=D) > 2",
        (f"{ORDERS}a_file_that_is_no_permutation_is_refused_by_name",),
    ),
    (
        "the change of survival over what is left, as of a weight 1/t told the wrong way round",
        "categorical/masked.py",
        "rate = (before - survival) / (1 - survival)",
        "rate = (before - survival) / before",
        (f"{CHAINS}an_absorbing_chain_by_counts_is_the_chain_by_time",),
    ),
    (
        "Bernoulli weight on masks of exactly k",
        "categorical/masked.py",
        "    subsets = _log_binomial(torch.full_like(k, D), k)\n",
        "    subsets = torch.zeros_like(k)\n",
        (f"{CHAINS}the_weights_of_counts_add_up_to_all_positions",),
    ),
    (
        "the mask has the mass of a level",
        "categorical/predicted.py",
        ".masked_fill(~is_level, -math.inf)",
        "",
        ("tests/categorical/test_predicted.py::test_the_mass_of_a_value_is_that_of_the_table",),
    ),
    (
        "k off by one",
        "categorical/masked.py",
        "k = torch.arange(1, D + 1, dtype=torch.float64)[:, None]",
        "k = torch.arange(D, dtype=torch.float64)[:, None]",
        (f"{CHAINS}the_weights_of_counts_add_up_to_all_positions",),
    ),
    (
        "a step pays for all that is masked",
        "categorical/masked.py",
        "return torch.where(count > 0, count / n * each, 0)",
        "return torch.where(count > 0, each, 0)",
        (f"{CHAINS}the_limit_is_the_mean_over_orders_and_encloses_the_likelihood",),
    ),
    (
        "positions that a call reveals are seen by it",
        "categorical/masked.py",
        "(self.step.to(x.device) <= _beside(t, x))",
        "(self.step.to(x.device) < _beside(t, x))",
        (f"{CHAINS}an_order_is_its_own_enumeration_and_adds_up_to_1",),
    ),
    (
        "groups revealed from the last to the first",
        "categorical/masked.py",
        "step[part] = self.calls - call",
        "step[part] = call + 1",
        (f"{MODELS}the_likelihood_of_an_order_is_that_of_calls_by_hand",),
    ),
    (
        "a survival at the end is passed over",
        "categorical/masked.py",
        "if left > 0:",
        "if False:",
        (f"{CHAINS}chains_without_a_strict_masked_form_are_refused",),
    ),
    (
        "a control's mean as if L_0 had a part in it",
        "categorical/controls.py",
        "self.plan.moves(n.expand(len(t)), t) / n.clamp(min=1).double()",
        "self.plan.moves(n.expand(len(t)), t) / t.double()",
        (f"{CHAINS}the_mean_of_a_control_is_that_over_every_mask",),
    ),
    (
        "the calls of any order among the facts of one order",
        "model/masked.py",
        '{"order": about}',
        '{"order": about, "calls": calls}',
        (f"{MODELS}another_plan_has_its_own_facts_alone",),
    ),
    (
        "a likelihood with a Monte Carlo error",
        "tasks/evaluate.py",
        "exhaustive = exhaustive or model.exact",
        "pass",
        (f"{MODELS}the_likelihood_of_an_order_is_that_of_calls_by_hand",),
    ),
    (
        "orders weighed together without log K",
        "estimation/orders.py",
        "weighted = math.log(nats.shape[1]) - torch.logsumexp(-nats, 1)",
        "weighted = -torch.logsumexp(-nats, 1)",
        (f"{SIDES}both_sides_enclose_the_enumerated_likelihood",),
    ),
    (
        "a tangent whose point has seen the weights",
        "estimation/orders.py",
        "    scale = _log_mean_of_others(log_ratio)\n",
        "    scale = log_ratio.exp().mean(0, keepdim=True).log().expand_as(log_ratio)\n",
        (f"{SIDES}the_tangent_bound_is_its_formula",),
    ),
    (
        "a tangent bound above the likelihood",
        "estimation/orders.py",
        "gap = scale + (log_ratio - scale).exp() - 1",
        "gap = 1 - scale - (log_ratio - scale).exp()",
        (f"{SIDES}both_sides_enclose_the_enumerated_likelihood",),
    ),
    (
        "weights of orders by their own mean",
        "estimation/orders.py",
        "log_weight = (weighted.flip(0)[:, None] - nats - scale).flatten()",
        "log_weight = (weighted[:, None] - nats - scale).flatten()",
        (f"{SIDES}the_tangent_bound_is_its_formula",),
    ),
    (
        "the same orders in both halves",
        "estimation/orders.py",
        "noise = evaluator.key.rows(which).draw(draw[row])",
        "noise = evaluator.key.rows(which).draw(draw[row] % orders)",
        (f"{SIDES}every_path_is_an_order_of_the_model",),
    ),
    (
        "a heavy tail that is not refused",
        "tasks/order_bounds.py",
        "sides.below(sizes) if sides.effective >= FEWEST else None",
        "sides.below(sizes) if len(images) >= 1 else None",
        (f"{SIDES}a_tail_that_is_too_heavy_is_refused",),
    ),
    (
        "a position that costs at every step that hides it",
        "estimation/positions.py",
        "torch.where(x_t != x_prev, log_p.double(), 0)",
        "torch.where(x_t == chain.p.mask, log_p.double(), 0)",
        (f"{POSITIONS}positions_add_up_to_the_order_they_are_of",),
    ),
    (
        "shown symbols in the mean of a position",
        "report/positions.py",
        "for part in (bits * counted, counted)",
        "for part in (bits, counted)",
        (f"{POSITIONS}curves_and_spans_say_what_is_hard",),
    ),
]
