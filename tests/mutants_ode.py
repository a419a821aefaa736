"""Deliberate errors in the likelihood by the probability-flow ODE."""

__all__ = ["ODE"]

LAWS = "tests/gaussian/test_ode_flow.py::test_"
CLOSED = f"{LAWS}the_density_is_that_of_the_closed_form"
SIGNS = f"{LAWS}signs_give_the_divergence_without_bias"
FRESH = f"{LAWS}probes_are_fresh_at_each_point_and_the_same_for_any_company"
TASK = "tests/tasks/test_ode.py::test_"
FIGURE = f"{TASK}the_figure_of_a_density_is_the_closed_form"
ROWS = f"{TASK}rows_are_added_where_their_spread_is_too_much_and_steps_where_these_are"
WEIGHTS = f"{TASK}weights_of_many_points_average_to_the_likelihood"
ALONE = "tests/gaussian/test_rk45.py::test_each_row_is_solved_as_scipy_solves_it_alone"
BY_RK45 = "tests/gaussian/test_rk45.py::test_the_density_by_rk45_is_that_of_the_closed_form"
PUBLISHED = f"{TASK}the_published_solver_has_its_figure_and_no_error_bar"
UNIFORM = f"{TASK}uniform_dequantisation_is_the_published_convention"
COUNTED = f"{TASK}evaluations_are_counted_with_a_backward_pass_as_two"

ODE = [
    (
        "the divergence's sign",
        "gaussian/ode.py",
        "integral = integral + weight * h * divergence",
        "integral = integral - weight * h * divergence",
        (CLOSED,),
    ),
    (
        "a step of order 3",
        "gaussian/ode.py",
        "k_4 = self.drift(x + h * k_3, log_snr + h)",
        "k_4 = self.drift(x + h * k_2, log_snr + h)",
        (f"{LAWS}the_error_falls_with_the_fourth_power_of_the_step",),
    ),
    (
        "a trapezoid rule whatever the ends",
        "gaussian/ode.py",
        "ENDS = (3 / 8, 7 / 6, 23 / 24)",
        "ENDS = (1 / 2, 1.0, 1.0)",
        (f"{LAWS}the_quadrature_is_exact_for_cubics_and_within_any_power_for_what_is_flat",),
    ),
    (
        "a probe reused along the path",
        "gaussian/ode.py",
        "place if self.fresh else 0",
        "0",
        (FRESH,),
    ),
    (
        "v . v for v . J v",
        "gaussian/ode.py",
        "(product * v).reshape(",
        "(v * v).reshape(",
        (SIGNS,),
    ),
    (
        "rows that never grow",
        "estimation/ode.py",
        "if rows < PILOT and looks.residual <= wanted:",
        "if rows < FEW and looks.residual <= wanted:",
        (ROWS,),
    ),
    (
        "rows that grow in place of steps",
        "estimation/ode.py",
        "if rows < PILOT and looks.residual <= wanted:",
        "if rows < PILOT:",
        (ROWS,),
    ),
    (
        "log K left out",
        "estimation/ode.py",
        "return math.log(count) - torch.logsumexp(together, 1)",
        "return -torch.logsumexp(together, 1)",
        (WEIGHTS,),
    ),
    (
        "log a of the rescaling left out",
        "estimation/ode.py",
        "(float(alpha.log()) + math.log(spacing))",
        "math.log(spacing)",
        (UNIFORM,),
    ),
    (
        "log q added",
        "estimation/ode.py",
        "- chain.q.marginal(x_0, t).log_prob(z)",
        "+ chain.q.marginal(x_0, t).log_prob(z)",
        (FIGURE,),
    ),
    (
        "an error over all rows",
        "gaussian/rk45.py",
        ".square().mean(1).sqrt()",
        ".square().mean().sqrt().expand(len(error))",
        (ALONE,),
    ),
    (
        "a step that grows after a refusal",
        "gaussian/rk45.py",
        "torch.where(refused, grown.clamp(max=1.0), grown)",
        "grown",
        (ALONE,),
    ),
    (
        "the divergence of RK45 subtracted",
        "gaussian/ode.py",
        "return end[:, -1] + _at_the_end",
        "return -end[:, -1] + _at_the_end",
        (BY_RK45,),
    ),
    (
        "an interval for RK45 without its solver's error",
        "estimation/ode.py",
        "monte_carlo = None if self.convention.adaptive else known.se",
        "monte_carlo = known.se",
        (PUBLISHED,),
    ),
    (
        "evaluations of RK45 that a record forgets",
        "estimation/ode.py",
        "for of_points in slopes:",
        "for of_points in slopes if self.evaluator.record is None else []:",
        ("tests/estimation/test_ode_lasts.py::test_a_killed_evaluation_goes_on_to_the_same_json",),
    ),
    (
        "backward passes that cost nothing",
        "estimation/ode.py",
        "+ 2 * self.directions * (steps + 1)",
        "+ 0 * self.directions * (steps + 1)",
        (COUNTED,),
    ),
]
