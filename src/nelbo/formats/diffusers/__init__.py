"""Folders and pipelines of diffusers: network, scheduler, autoencoder and conditions."""
