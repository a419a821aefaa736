"""Training steps and sampling loops of others, around the same network.

denoising-diffusion-pytorch is no dependency of this project: without it, what it would do is left
out. Where torchvision is missing or cannot be imported, its core is taken without it, since only
its reading of image folders needs it.
"""

import importlib
import importlib.util
import sys
import types
from contextlib import contextmanager
from functools import cache

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn
from torch.nn import functional as F

__all__ = ["LUCID", "diffusers_sampling", "diffusers_step", "lucid", "lucid_sampling", "lucid_step"]

LUCID = "denoising_diffusion_pytorch"


@cache
def lucid() -> tuple[types.ModuleType | None, str]:
    """(the module with GaussianDiffusion, how it was imported or why it is not there)."""
    whole = f"{LUCID}.{LUCID}"
    try:
        spec = importlib.util.find_spec(LUCID)
        if spec is None:
            return None, "not measured: not installed"
        if _imports("torchvision"):
            return importlib.import_module(whole), "imported whole"
        with _without_torchvision(spec):
            return importlib.import_module(whole), "its core, without torchvision"
    except ImportError as error:
        return None, f"not measured: {error}"


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):  # the latter where it was built for another torch
        return False
    return True


@contextmanager
def _without_torchvision(package):
    """Names in torchvision's place, and the package without what its __init__ imports."""
    stubs = {name: types.ModuleType(name) for name in ("torchvision", LUCID)}
    stubs["torchvision"].transforms = stubs["torchvision"].utils = None
    stubs[LUCID].__path__ = package.submodule_search_locations
    sys.modules.update(stubs)
    try:
        yield
    finally:
        del sys.modules["torchvision"]  # others ask whether it is there


def lucid_diffusion(core, network: nn.Module, side: int, T: int, kept: int | None = None):
    """Its diffusion of eps on the linear schedule, around this network."""
    return core.GaussianDiffusion(
        _Lucid(network), image_size=side, timesteps=T, objective="pred_noise",
        beta_schedule="linear",
    )  # fmt: skip


class _Lucid(nn.Module):
    """A network as its GaussianDiffusion takes it."""

    channels = out_dim = 1
    self_condition = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t, time, condition=None):
        return self.network(x_t, time)


def lucid_step(core, network, side: int, T: int, next_batch):
    """The steps of its Trainer, with its settings, on batches with values in [0, 1]."""
    from tqdm.auto import tqdm

    diffusion = lucid_diffusion(core, network, side, T)
    accelerator = Accelerator(cpu=next_batch().device.type == "cpu")
    averaged = core.EMA(diffusion, beta=0.995, update_every=10)
    optimizer = core.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    model, optimizer = accelerator.prepare(diffusion, optimizer)
    bar = tqdm(disable=True)

    def step():
        model.train()
        with accelerator.autocast():
            loss = model(next_batch())
            total = loss.item()
        accelerator.backward(loss)
        bar.set_description(f"loss: {total:.4f}")
        accelerator.wait_for_everyone()
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.wait_for_everyone()
        averaged.update()
        bar.update(1)

    return step


def diffusers_step(network, T: int, next_batch):
    """The steps of diffusers' example for unconditional training, on values in [-1, 1]."""
    from tqdm.auto import tqdm

    accelerator = Accelerator(cpu=next_batch().device.type == "cpu")
    scheduler = DDPMScheduler(num_train_timesteps=T, beta_schedule="linear")
    averaged = EMAModel(
        network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
    )
    averaged.to(next_batch().device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
    )
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=10**6)
    model, optimizer, rate = accelerator.prepare(network, optimizer, rate)
    bar = tqdm(disable=True)

    def step():
        images = next_batch()
        noise = torch.randn(images.shape, dtype=images.dtype, device=images.device)
        times = torch.randint(0, T, (len(images),), device=images.device).long()
        noisy = scheduler.add_noise(images, noise, times)
        with accelerator.accumulate(model):
            loss = F.mse_loss(model(noisy, times).float(), noise.float())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            averaged.step(model.parameters())
            bar.update(1)
        bar.set_postfix(loss=loss.detach().item(), lr=rate.get_last_lr()[0])

    return step


def diffusers_sampling(network, shape, T: int, steps: int, device="cpu"):
    """DDPMPipeline's loop, which itself takes no network but a UNet2DModel."""
    scheduler = DDPMScheduler(num_train_timesteps=T, beta_schedule="linear")

    @torch.no_grad()
    def draw():
        image = torch.randn(shape, device=device)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            output = network(image, t.to(device).expand(len(image)))
            image = scheduler.step(output, t, image).prev_sample
        return (image / 2 + 0.5).clamp(0, 1)

    return draw


def lucid_sampling(core, network, shape, steps: int, device="cpu"):
    """Its p_sample_loop: of a schedule with so many steps, since it leaves none out but by DDIM."""
    core.tqdm = lambda schedule, **options: schedule
    diffusion = lucid_diffusion(core, network, shape[-1], steps).to(device)
    return lambda: diffusion.p_sample_loop(shape)
