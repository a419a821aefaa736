"""Deliberate errors in densities and latents, as the fields of `mutants.Mutant`."""

__all__ = ["DENSITY"]

DATA = "tests/test_density.py::test_"
LATENTS = "tests/formats/test_latents.py::test_"

DENSITY = [
    (
        "nats of a density told as bits (H06, H09)",
        "results/unit.py",
        "return BITS if isinstance(support, Grid) else replace(NATS, density_of=support.name)",
        "return BITS",
        (f"{DATA}results_keep_their_unit_through_every_door",),
    ),
    (
        "bits/dim of a density on demand (H09)",
        "results/unit.py",
        "        if self.density_of is not None:\n            raise",
        "        if self.density_of is not None and self.key == BITS.key:\n            raise",
        (f"{LATENTS}what_has_no_bits_gives_none",),
    ),
    (
        "nats of a density among the bits of a metric (H09)",
        "metrics.py",
        "            table.unit.require_bits()\n",
        "",
        (f"{DATA}results_keep_their_unit_through_every_door",),
    ),
    (
        "integers measured as real numbers (H06)",
        "data/points.py",
        "if not self.numbers.is_floating_point():",
        "if self.numbers.is_complex():",
        (f"{DATA}what_has_no_density_is_refused",),
    ),
    (
        "real numbers rounded to levels (H06)",
        "model/examples.py",
        "    if isinstance(data, Points):\n",
        "    if isinstance(data, int):\n",
        (f"{LATENTS}what_is_not_of_latents_is_refused",),
    ),
    (
        "a decoder of bins for latents (H06)",
        "formats/foreign.py",
        "if folder.autoencoder is None and (declared or not network.latent):",
        "if True:",
        (f"{LATENTS}what_is_not_of_latents_is_refused",),
    ),
    (
        "the scaling factor divided by",
        "formats/diffusers/latents.py",
        "latents.append(((e - self.shift) * self.scale).cpu())",
        "latents.append(((e - self.shift) / self.scale).cpu())",
        (f"{LATENTS}the_images_of_a_latent_model_are_encoded_by_its_autoencoder",),
    ),
    (
        "the shift after the scale",
        "formats/diffusers/latents.py",
        "latents.append(((e - self.shift) * self.scale).cpu())",
        "latents.append((e * self.scale - self.shift).cpu())",
        (f"{LATENTS}the_images_of_a_latent_model_are_encoded_by_its_autoencoder",),
    ),
    (
        "noise of the batch and not of the image (H34)",
        "formats/diffusers/latents.py",
        "noise = key.rows(rows).at(torch.zeros_like(rows))",
        "noise = KeyedNoise.of(seed, torch.arange(len(rows))).at(torch.zeros_like(rows))",
        (f"{LATENTS}the_noise_of_a_latent_is_that_of_its_image",),
    ),
    (
        "two encodings compared",
        "tasks/paired.py",
        "if examples_of(b, data, seed).sha256 != images.sha256:",
        "if len(images) == 0:",
        (f"{LATENTS}two_encodings_are_not_compared",),
    ),
    (
        "an encoder lost with the steps that are left out",
        "model/gaussian.py",
        "return replace(self, chain=",
        "return replace(self, encoder=None, chain=",
        (f"{LATENTS}a_sub_chain_encodes_as_the_chain_does",),
    ),
    (
        "an embedding guessed",
        "formats/diffusers/condition.py",
        "    if condition is None:\n",
        "    condition = condition or ZERO\n    if condition is None:\n",
        (f"{LATENTS}a_conditional_unet_needs_its_embedding_to_be_specified",),
    ),
]
