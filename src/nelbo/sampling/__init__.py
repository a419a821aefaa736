"""Draws from p_theta(x_0), and pictures of them."""
