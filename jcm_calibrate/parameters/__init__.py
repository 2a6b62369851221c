"""Which parameters are free: names, bounds, priors, and the vector that stands for them."""
