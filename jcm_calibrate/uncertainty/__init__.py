"""How well the parameters are known: identifiability, Laplace, NUTS, and checks of samplers."""
