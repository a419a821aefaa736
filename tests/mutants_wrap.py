"""Deliberate errors in names of schedules, in warnings and in the doors of Python."""

__all__ = ["WRAP"]

SCHEDULE = "tests/gaussian/test_schedule.py::test_"
DOUBTS = "tests/test_doubts.py::test_"
COMPARED = f"{DOUBTS}a_comparison_doubts_what_an_evaluation_doubts"

WRAP = [
    (
        "linear-by-T not scaled by T",
        "gaussian/schedule.py",
        "scale = 1000 / max(T, 1)",
        "scale = 1.0",
        (
            f"{SCHEDULE}parameters_mean_what_the_definition_says[linear-by-T-linear_by_T_betas-parameters3]",
        ),
    ),
    (
        "lucidrains' sigmoid without its tau",
        "gaussian/schedule.py",
        "last = end / tau",
        "last = end",
        (
            f"{SCHEDULE}parameters_mean_what_the_definition_says[sigmoid-lucidrains-sigmoid_lucidrains_betas-parameters5]",
        ),
    ),
    (
        "D3PM's cosine half a step late",
        "gaussian/schedule.py",
        "(t - 0.5 + T * s)",
        "(t + T * s)",
        (f"{SCHEDULE}every_table_keeps_14_digits_at_every_t[cosine-d3pm-1000]",),
    ),
    (
        "a denoiser judged on the images that fit it",
        "gaussian/yardstick.py",
        "(self.half != side).nonzero()",
        "(self.half == side).nonzero()",
        (f"{DOUBTS}the_yardstick_is_the_affine_denoiser_of_the_other_half",),
    ),
    (
        "axes of wide images that are not of length 1",
        "gaussian/yardstick.py",
        "(left / size).T @ x",
        "left.T @ x",
        (f"{DOUBTS}the_yardstick_is_the_affine_denoiser_of_the_other_half",),
    ),
    (
        "the sign of the excess",
        "gaussian/yardstick.py",
        "(squared_error - error)",
        "(error - squared_error)",
        (f"{DOUBTS}the_yardstick_is_the_affine_denoiser_of_the_other_half",),
    ),
    (
        "rows of the excess put under other images",
        "estimation/excess.py",
        "group * self.images + rows.image",
        "group * self.images + rows.image.flip(0)",
        (f"{DOUBTS}z_is_that_of_student_and_the_range_is_where_the_excess_is",),
    ),
    (
        "a range of any size",
        "estimation/excess.py",
        "if gathered >= PART:",
        "if gathered > 0:",
        (f"{DOUBTS}z_is_that_of_student_and_the_range_is_where_the_excess_is",),
    ),
    (
        "L_T warnings_of by one threshold alone",
        "results/warnings.py",
        "if least < L_T and part * abs(per_dim) < L_T:",
        "if part * abs(per_dim) < L_T:",
        (f"{DOUBTS}the_three_thresholds",),
    ),
    (
        "linear's ends for T = 1000 without a word",
        "wrapping/schedules.py",
        "or whole.T == 1000:",
        "or whole.T > 0:",
        (f"{DOUBTS}the_usual_ends_for_another_number_of_steps_are_doubted[schedule0-True]",),
    ),
    (
        "a comparison that doubts the V_1 of A for B's",
        "tasks/warnings.py",
        "evaluator.at_1(number)",
        "evaluator.at_1()",
        (f"{COMPARED}[changes0-V_1 is too small: x0-hat is off by]",),
    ),
    (
        "a comparison that sets A's network beside the affine function for B's",
        "tasks/warnings.py",
        "evaluator.excess[number]",
        "evaluator.excess[0]",
        (f"{COMPARED}[changes1-worse than an affine function]",),
    ),
    (
        "a comparison that takes the L_T of A for B's",
        "tasks/compare.py",
        '"L_T": sampling.L_T(number)',
        '"L_T": sampling.L_T(0)',
        (f"{COMPARED}[changes2-L_T is]",),
    ),
]
