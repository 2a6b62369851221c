"""The search for a minimum, with gradients and without, at one interface and with one log."""
