"""Deliberate errors in the categorical family, as the fields of `mutants.Mutant`."""

__all__ = ["CATEGORICAL"]

D3PM = "tests/categorical/test_d3pm.py::test_"
MASKED_BOUND = f"{D3PM}the_bound_of_a_masked_chain_needs_no_distribution_over_its_states"

CATEGORICAL = [
    (
        "KL by the mean over dimensions",
        "categorical/distribution.py",
        "x.flatten(1).sum(1)",
        "x.flatten(1).mean(1)",
        (
            "tests/categorical/test_categorical.py::test_kl_is_that_of_torch",
            "tests/categorical/test_categorical.py::test_log_prob_is_that_of_torch",
        ),
    ),
    (
        "states drawn from a float32 sum",
        "categorical/distribution.py",
        ".detach().double().exp()",
        ".detach().float().exp()",
        ("tests/categorical/test_categorical.py::test_a_draw_has_53_bits",),
    ),
    (
        "inverse off by one",
        "categorical/distribution.py",
        ".unsqueeze(-1)).sum(-1)",
        ".unsqueeze(-1)).sum(-1).sub(1).clamp(min=0)",
        (
            "tests/categorical/test_categorical.py::test_samples_have_the_probabilities",
            "tests/categorical/test_categorical.py::test_the_public_laws_of_a_distribution_hold",
        ),
    ),
    (
        "alpha for alpha_bar",
        "categorical/resampling.py",
        "return self._bar.row(x, t, self.dtype)",
        "return self._one.row(x, t, self.dtype)",
        (
            "tests/categorical/test_transition.py::test_qbar_is_the_product_of_the_steps",
            "tests/categorical/test_transition.py::test_the_public_laws_of_a_forward_chain_hold",
        ),
    ),
    (
        "weights of a mixture taken to add up to 1",
        "categorical/resampling.py",
        " + log_weights.logsumexp(-1, keepdim=True)",
        "",
        ("tests/categorical/test_transition.py::test_a_mixture_is_a_weighted_sum_of_rows",),
    ),
    (
        "dense column is a row",
        "categorical/dense.py",
        "self._rows(self.tables[t - 1].to(x.device).mT, x)",
        "self._rows(self.tables[t - 1].to(x.device), x)",
        (
            "tests/categorical/test_transition.py::test_columns_are_the_columns_of_the_rows",
            "tests/categorical/test_toy_chains.py::test_d1_is_d10_on_every_path",
        ),
    ),
    (
        "mixture of columns",
        "categorical/dense.py",
        "@ self.products[t].to(log_w.device)",
        "@ self.products[t].to(log_w.device).mT",
        ("tests/categorical/test_transition.py::test_a_mixture_is_a_weighted_sum_of_rows",),
    ),
    (
        "mixture in float32",
        "categorical/dense.py",
        "log_w = log_weights.double().flatten(1, -2)",
        "log_w = log_weights.float().double().flatten(1, -2)",
        ("tests/categorical/test_transition.py::test_a_mixture_is_a_weighted_sum_of_rows",),
    ),
    (
        "beta = 1 allowed anywhere",
        "categorical/transition.py",
        "(beta == 1 and t == len(betas))",
        "(beta == 1)",
        ("tests/categorical/test_transition.py::test_a_beta_outside_the_unit_interval_is_named",),
    ),
    (
        "posterior at t = 1",
        "categorical/forward.py",
        "int(t.min()) < 2",
        "int(t.min()) < 1",
        ("tests/categorical/test_transition.py::test_the_posterior_refuses_the_first_step",),
    ),
    (
        "mixture at t in the reverse",
        "categorical/reverse.py",
        "log_mix_bar(log_pi, t - 1)",
        "log_mix_bar(log_pi, t)",
        (
            "tests/categorical/test_d3pm.py::test_the_reverse_is_the_posterior_averaged_over_x_0",
            "tests/categorical/test_d3pm.py::test_an_exact_model_has_the_same_value_on_every_path",
        ),
    ),
    (
        "likelihood left out of the decoder",
        "categorical/reverse.py",
        "log_pi + self.q.transition.log_column_bar(x_t, t)",
        "log_pi",
        (
            "tests/categorical/test_d3pm.py::test_the_reverse_is_the_posterior_averaged_over_x_0",
            "tests/categorical/test_d3pm.py::test_an_exact_model_has_the_same_value_on_every_path",
        ),
    ),
    (
        "likelihood counted twice in the step",
        "categorical/reverse.py",
        "return self.averaged(self.log_pi(x_t, t), x_t, t)",
        "return self.averaged(self.x_0(self.log_pi(x_t, t), x_t, t).log_probs, x_t, t)",
        (
            "tests/categorical/test_d3pm.py::test_the_reverse_is_the_posterior_averaged_over_x_0",
            "tests/categorical/test_d3pm.py::test_an_exact_model_has_the_same_value_on_every_path",
        ),
    ),
    (
        "order of channels and states",
        "categorical/reverse.py",
        "movedim(-1, 2).flatten(1, 2).to",
        "movedim(-1, 1).flatten(1, 2).to",
        ("tests/categorical/test_d3pm.py::test_the_network_sees_states_as_channels_of_0_and_1",),
    ),
    (
        "order of channels and levels",
        "categorical/reverse.py",
        "logits.reshape(*x_t.shape[:2], self.levels, *x_t.shape[2:])",
        "logits.reshape(len(x_t), self.levels, *x_t.shape[1:]).transpose(1, 2)",
        ("tests/categorical/test_d3pm.py::test_logits_are_read_as_channels_of_levels",),
    ),
    (
        "index off by one",
        "categorical/reverse.py",
        "return transition.kept[t - 1] - 1",
        "return transition.kept[t - 1] - 0",
        ("tests/categorical/test_d3pm.py::test_the_network_receives_the_time_of_the_whole_chain",),
    ),
    (
        "fraction of the sub-chain",
        "categorical/reverse.py",
        "/ transition.whole_T - 9",
        "/ transition.T - 9",
        ("tests/categorical/test_d3pm.py::test_the_network_receives_the_time_of_the_whole_chain",),
    ),
    (
        "prior's support unchecked",
        "categorical/reverse.py",
        "if (reached & ~mass).any():",
        "if False:",
        ("tests/categorical/test_d3pm.py::test_a_prior_without_mass_where_q_ends_is_refused",),
    ),
    (
        "prior beyond q unchecked",
        "categorical/reverse.py",
        "if (mass & ~reached).any():",
        "if False:",
        ("tests/categorical/test_d3pm.py::test_a_prior_with_mass_where_q_never_ends_is_refused",),
    ),
    (
        "hybrid term is always a KL or never",
        "categorical/objective.py",
        "term = cross_entropy.index_copy(0, later.to(kl.device), kl)",
        "pass",
        ("tests/categorical/test_d3pm.py::test_the_hybrid_loss_without_its_weight_is_the_bound",),
    ),
    (
        "masked bound: the rate over abar_t",
        "categorical/objective.py",
        "(before - after) / (1 - after)",
        "(before - after) / before",
        (MASKED_BOUND,),
    ),
    (
        "masked bound: positions that are seen count",
        "categorical/objective.py",
        "own = -p.predicted(x_t, t).log_mass(x_0).masked_fill(~masked, 0)",
        "own = -p.predicted(x_t, t).log_mass(x_0)",
        (MASKED_BOUND,),
    ),
    (
        "a table that stays on the CPU",
        "categorical/resampling.py",
        "redraw + self.log_target.to(x.device)",
        "redraw + self.log_target",
        ("tests/categorical/test_d3pm.py::test_a_chain_follows_its_states_to_another_device",),
    ),
]
