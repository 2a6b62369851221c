"""The dynamics: how a state and the tendencies of the physics make the next state."""
