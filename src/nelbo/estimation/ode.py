"""-log p by the probability-flow ODE: start points, draws and steps, and the error of each.

An image starts at K points z_1 ~ q(z_1 | x_0), and its figure is
-log 1/K sum of p(z_1) p_theta(x_0 | z_1) / q(z_1 | x_0), with p by the ODE and p_theta(x_0 | z_1)
the bound's own decoder; its mean over the points bounds the ODE's -log p(x_0) from above, and falls
to it as K grows. Draws of one image differ in points and probes, so their spread is the error of
both; that of the steps is measured on some images, with twice as many steps. RK45, by which figures
are published, chooses its steps itself, and what error they leave is not known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.statistics import Mean, satterthwaite
from nelbo.errors import BadInput
from nelbo.estimation.evaluator import TURNS, Evaluator, out_of_memory
from nelbo.estimation.ode_convention import Convention
from nelbo.gaussian.ode import ExactTrace, Hutchinson, ProbabilityFlow, Trace
from nelbo.types import Batch, Grid, Nats

__all__ = ["OdeSampling"]

START = 10  # steps of the first look
FINEST = 1280  # steps, beyond which none are tried
FEW, PILOT = 8, 32  # rows on which numbers of steps are compared, at first and at most
TRACED = 16  # rows that get other probes, by which the trace's error is known
DRAWS = 2  # of each image at least: their spread is the error
MOST = 64  # draws of each image
ORDER = 4.0  # at most by which an error is taken to fall as steps double, where it fell by more
GRAPH = 8  # times the memory of a forward pass alone
WITHIN = 0.05  # of the slope: what a gradient may differ by from a difference


@final
@dataclass(frozen=True)
class Looks:
    """What is known of the error of `steps`: nats of the same rows by each number of steps.

    difference: of twice as many steps to `steps`, which is added; residual: what may be left, as
    half of a 95 % interval; images: of which these rows are.
    """

    steps: int
    images: int
    nats: dict[int, Float64[Tensor, " rows"]]
    difference: Mean
    residual: float

    @property
    def error(self) -> Mean:
        """The difference with the error of both."""
        se = math.hypot(self.difference.se or 0.0, self.residual / 1.96)
        return Mean(self.difference.mean, se, self.difference.dof)


@final
class OdeSampling:
    """-log p of each image by the ODE, its steps and draws chosen by what they are seen to do.

    Raises:
        BadInput: a model that has no ODE, or whose data need no uniform dequantisation.
    """

    def __init__(self, evaluator: Evaluator, convention: Convention) -> None:
        self.evaluator = evaluator
        self.convention = convention
        self.model = evaluator.models[0]
        self.flow = ProbabilityFlow.of(evaluator.chains[0].p, self.model.name)
        if convention.dequantise == "uniform" and not isinstance(self.model.support, Grid):
            raise BadInput(
                f"{self.model.name} has a density of real numbers, which have no levels between "
                "which noise could be spread: leave dequantise at model"
            )
        # a graph is kept of what is done at once: fewer rows than without, and no more of them
        # than the network gets
        evaluator.batch = evaluator.batch_size or max(1, evaluator.batch // GRAPH)
        evaluator.chunk = evaluator.limit = max(1, evaluator.batch // convention.importance)
        self.values = torch.empty(0, len(evaluator.images), dtype=torch.float64)
        self.trace_variance = 0.0
        self.looks: Looks | None = None
        self.slopes: list[Tensor] = []  # evaluations of the ODE, where a row's own steps say them
        self._stage = 0

    # One row: an image, a draw of its points, and the probes.

    def nats(
        self,
        image: Int64[Tensor, " R"],
        draw: Int64[Tensor, " R"],
        steps: int | None,
        *,
        probes: Int64[Tensor, " R"] | None = None,
        fresh: bool = True,
    ) -> Float64[Tensor, " R"]:
        """-log p of each of the images by its draw of points, and that draw's probes or another's.

        steps: of rk4; rk45 chooses its own.

        Raises:
            NonFinite: one is NaN or infinite.
        """
        of_probes = draw if probes is None else probes
        adaptive = self.convention.adaptive
        fixed = 0 if steps is None else self.calls(steps)
        self.evaluator.cost = self.convention.importance * fixed

        def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
            which = image[row]
            with torch.no_grad():
                values, slopes = self._nats(which, draw[row], of_probes[row], steps, fresh)
            t = torch.ones_like(which)
            of_log_p = self.evaluator.finite(values[:, None], t, which, "the ODE's log p")
            return [of_log_p, slopes.cpu()] if adaptive else [of_log_p]

        # what rk45 takes is counted afterwards, so it is done in parts, which progress sees
        size = TURNS * self.evaluator.chunk if adaptive else len(image)
        parts = [self._part(rows, compute) for rows in torch.arange(len(image)).split(size)]
        return torch.cat(parts)

    def _part(
        self, rows: Int64[Tensor, " R"], compute: Callable[[Tensor], list[Tensor]]
    ) -> Float64[Tensor, " R"]:
        """Those rows of `nats`; what rk45 took for them is counted."""
        stage, self._stage = self._stage, self._stage + 1
        values, *slopes = self.evaluator.ask(stage, len(rows), lambda row: compute(rows[row]))
        for of_points in slopes:
            self.slopes.append(of_points.flatten())
            decoders = of_points.numel() * (self.convention.dequantise == "model")
            self.evaluator.count(int(of_points.sum()) * (1 + 2 * self.directions) + decoders)
        return values[:, 0]

    @property
    def directions(self) -> int:
        """Of the trace, at each point of the path."""
        return self._trace(self.evaluator.key, True).calls(self.model.dims)

    def calls(self, steps: int) -> int:
        """Network evaluations of one point by rk4, a backward pass counted as two."""
        decoder = self.convention.dequantise == "model"
        return 4 * steps + 1 + 2 * self.directions * (steps + 1) + decoder

    def _trace(self, noise: KeyedNoise, fresh: bool) -> Trace:
        given = self.convention
        if given.probes is None:
            return ExactTrace()
        return Hutchinson(noise, given.probes, fresh, given.importance)

    def _nats(
        self, image: Tensor, draw: Tensor, of_probes: Tensor, steps: int | None, fresh: bool
    ) -> tuple[Nats, Int64[Tensor, "R points"]]:
        """(-log p, the evaluations of the ODE for each point of rk45) of each row."""
        evaluator, count = self.evaluator, self.convention.importance
        key = evaluator.key.rows(image)
        points, probes = key.draw(draw), key.draw(of_probes)
        each = image.repeat_interleave(count)
        x_0 = self.model.x_0(evaluator.images.values[each], torch.float64)
        chain = evaluator.chains[0].rows(each)
        z, log_weight = self._start(chain, x_0, points.draws(count))
        # probes of a key of their own; the points of an image share them, so that their error
        # moves all weights alike and not the mean of their exponentials
        trace = self._trace(probes.draws(1), fresh)
        flow, slopes = self.flow.rows(each), torch.zeros(0, dtype=torch.int64)
        if steps is None:
            log_p, slopes = flow.adaptive_log_density(z, trace)
        else:
            log_p = flow.log_density(z, steps, trace)
        together = (log_weight + log_p).reshape(len(image), count)
        return math.log(count) - torch.logsumexp(together, 1), slopes.reshape(len(image), -1)

    def _start(
        self, chain: Chain[StepDistribution], x_0: Batch, noise: KeyedNoise
    ) -> tuple[Batch, Nats]:
        """(z_1, what log p_theta(x_0) has beside log p(z_1) of the ODE)."""
        t = constant_time(1, x_0)
        noise = noise.at(t)
        if self.convention.dequantise == "uniform":
            alpha = torch.sigmoid(x_0.new_tensor(self.flow.first)).sqrt()
            spacing = self.model.grid.spacing
            z = alpha * (x_0 + spacing * (noise.uniform(x_0) - 0.5))
            scale = self.model.dims * (float(alpha.log()) + math.log(spacing))
            return z, x_0.new_full((len(x_0),), scale)
        z = self.model.arithmetic.state(chain, x_0, t, noise)
        decoder = self.model.arithmetic.decoder(chain, z)
        z = z.double()
        return z, decoder.log_prob(x_0).double() - chain.q.marginal(x_0, t).log_prob(z)

    # How many steps, and how many draws.

    def look(self, precision: float, steps: int | None = None) -> Looks:
        """Doubles the steps until what their number may change is half of the precision, in nats.

        steps: this number and no other. Probes are kept along the path here, which changes no mean
        and leaves a difference of two numbers of steps nearly no error. Rows are 8 at first and
        doubled to 32 while it is their spread that is too much, which more steps would not mend.
        """
        number, rows, before, wanted = steps or START, FEW, math.inf, 0.5 * precision
        nats: dict[int, Tensor] = {}
        while True:
            (image, draw), numbers = self._few(rows), {*nats, number, 2 * number}
            for n in sorted(numbers):
                known = nats.get(n, torch.empty(0, dtype=torch.float64))
                of_rows = (image[len(known) :], -1 - draw[len(known) :])
                if len(of_rows[0]):
                    nats[n] = torch.cat([known, self.nats(*of_rows, n, fresh=False)])
            looks = self.looks = _compared(number, min(rows, self.values.shape[1]), nats, before)
            if (looks.error.half_width() or 0.0) <= wanted:
                return looks
            if rows < PILOT and looks.residual <= wanted:
                rows *= 2
            elif steps is not None or 2 * number >= FINEST:
                return looks
            else:
                number, before = 2 * number, abs(looks.difference.mean)

    def _few(self, rows: int) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
        """(image, draw): some images by chance, or all where they are few, several times.

        Those of fewer rows come first among those of more.
        """
        chosen = self.evaluator.key.key.argsort()[:rows]
        times = -(-rows // len(chosen))
        return chosen.repeat(times), torch.arange(times).repeat_interleave(len(chosen))

    def spend(self, draws: int) -> None:
        """So many draws of each image in all."""
        (before, count), steps = self.values.shape, None if self.looks is None else self.looks.steps
        draw = torch.arange(before, draws).repeat_interleave(count)
        nats = self.nats(torch.arange(count).repeat(draws - before), draw, steps)
        self.values = torch.cat([self.values, nats.reshape(-1, count)])
        if before == 0 and self.convention.probes is not None:
            self.trace_variance = self._of_trace(steps)

    def until(self, precision: float) -> str:
        """Draws until half of the Monte Carlo interval is the precision, in nats; why it ended.

        Or a tenth of what the spread between images leaves, or after 64 draws of each.
        """
        self.spend(DRAWS)
        sampling, _ = self.means()
        spread, solver = sampling.half_width() or 0.0, self._solver.half_width() or 0.0
        wanted = max(precision, 0.1 * spread)
        rows = self._rows().half_width() or 0.0
        left = math.sqrt(max(wanted**2 - solver**2, (0.5 * wanted) ** 2))
        draws = math.ceil(DRAWS * (rows / left) ** 2)
        if draws > DRAWS:
            self.spend(min(draws, MOST))
        reached = (self._known().half_width() or 0.0) <= precision
        if not reached and draws > MOST:
            return f"{MOST} draws of each image"
        tenth = not reached and wanted > precision
        return "a tenth of the sampling error" if tenth else "precision"

    def _of_trace(self, steps: int | None) -> float:
        """The variance that probes leave in one draw, by others at the same points."""
        image, draw = self._few(min(TRACED, self.values.numel()))
        again = self.nats(image, draw, steps, probes=-1 - draw)
        return 0.5 * float((again - self.values[draw, image]).square().mean())

    # The figures, in nats of an image.

    @property
    def looked(self) -> Looks:
        """What `look` saw.

        Raises:
            ValueError: before it.
        """
        if self.looks is None:
            raise ValueError("look before: it says how many steps there are")
        return self.looks

    @property
    def _solver(self) -> Mean:
        """What twice as many steps change, with its error; of rk45 nothing, and none."""
        return Mean(0.0, None, 1) if self.convention.adaptive else self.looked.error

    def per_image(self) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
        """(-log p of each image, the variance of its error but for the steps')."""
        return self.values.mean(0) + self._solver.mean, self.values.var(0) / len(self.values)

    def _rows(self) -> Mean:
        """The mean with the error of points and probes."""
        values, variance = self.per_image()
        se = math.sqrt(float(variance.sum())) / len(values)
        return Mean(float(values.mean()), se, satterthwaite(variance, len(self.values) - 1))

    def _known(self) -> Mean:
        """The mean with all of its error that is known: of rk45 without the solver's."""
        rows, solver = self._rows(), self._solver
        parts = [(rows.se or 0.0, rows.dof), (solver.se or 0.0, solver.dof)]
        return Mean(rows.mean, *_together(parts))

    def means(self, minus: Float64[Tensor, " N"] | None = None) -> tuple[Mean, Mean]:
        """(sampling of images, Monte Carlo), of the mean or of its difference to other figures.

        By rk45 the second has no error: that of its steps is not known.
        """
        values, _ = self.per_image()
        values = values if minus is None else values - minus
        count, known = len(values), self._known()
        mean = float(values.mean())
        spread = float(values.std()) / math.sqrt(count) if count > 1 else None
        sampling = None if spread is None else math.hypot(spread, self._solver.se or 0.0)
        monte_carlo = None if self.convention.adaptive else known.se
        return Mean(mean, sampling, max(count - 1, 1)), Mean(mean, monte_carlo, known.dof)

    def shares(self) -> dict[str, float | None]:
        """Half of the 95 % interval that each source of error would leave alone, in nats.

        That of rk45's steps is None, and so is that of the points where what probes leave hides it.
        """
        rows = self._rows()
        both, trace = (rows.se or 0.0) ** 2, self.trace_variance / self.values.numel()
        halves = [
            Mean(0.0, math.sqrt(variance), rows.dof).half_width() or 0.0
            for variance in (min(trace, both), max(both - trace, 0.0))
        ]
        return {
            "solver": self._solver.half_width(),
            "trace": halves[0],
            "dequantisation": None if both <= trace else halves[1],
        }

    def check(self) -> None:
        """Holds a derivative of the flow against a difference, on two images at the data's end.

        Raises:
            BadInput: the network cannot be differentiated, or its gradient is another's.
        """
        if self.model.dtype not in (torch.float32, torch.float64):
            return  # whose rounding is as large as such a difference
        image = torch.arange(min(2, len(self.evaluator.images)))
        flow, key = self.flow.rows(image), self.evaluator.key.rows(image)
        x_0 = self.model.x_0(self.evaluator.images.values[image], torch.float64)
        for log_snr in torch.linspace(flow.first, flow.last, 5).tolist()[1:4]:
            level = torch.tensor(log_snr, dtype=torch.float64)
            noise, v = (key.at(torch.full_like(image, place)).normal(x_0) for place in (0, 1))
            deviation = torch.sigmoid(-level).sqrt()
            x = torch.sigmoid(level).sqrt() * x_0 + deviation * noise
            step = 0.01 * deviation * v
            try:
                _, gradient = flow.with_divergence(x, log_snr, v[None])
            except RuntimeError as error:  # of which NotImplementedError is one
                if out_of_memory(error):
                    raise
                why = str(error).splitlines()[0]
                raise BadInput(f"{self.model.name} cannot be differentiated: {why}") from None
            with torch.no_grad():
                ahead, behind = flow.drift(x + step, log_snr), flow.drift(x - step, log_snr)
            slope = (ahead - behind).flatten(1) / (0.02 * deviation)
            product = (slope * v.flatten(1)).sum(1)
            size = slope.norm(dim=1) * v.flatten(1).norm(dim=1)
            if ((gradient - product).abs() > WITHIN * size).any():
                raise BadInput(
                    f"the gradient of {self.model.name} is not that of its output (rounding, or a "
                    "part that stops gradients): its ODE has no density that could be computed; "
                    "--no-check, check=False in Python, goes on nevertheless"
                )


def _compared(steps: int, images: int, nats: dict[int, Tensor], before: float) -> Looks:
    """What twice as many steps change, and what may be left then.

    Where the change fell by 4 or more at the last doubling, a third of it; by less, more of it.
    """
    change = nats[2 * steps] - nats[steps]
    mean, se = float(change.mean()), float(change.std()) / math.sqrt(len(change))
    fell = min(before / abs(mean), ORDER) if mean and math.isfinite(before) else 2.0
    residual = abs(mean) / max(fell - 1, 1.0)
    return Looks(steps, images, dict(nats), Mean(mean, se, len(change) - 1), residual)


def _together(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(se, degrees of freedom) of independent (se, degrees of freedom): Welch 1947."""
    variance = sum(se**2 for se, _ in parts)
    square = sum(se**4 / dof for se, dof in parts if se > 0)
    dof = variance**2 / square if square > 0 else max(dof for _, dof in parts)
    return math.sqrt(variance), dof
